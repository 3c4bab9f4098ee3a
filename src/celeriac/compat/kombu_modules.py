"""The few names of kombu, and of billiard, that Celery's programs use: none of their machinery is behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from celeriac.compat.source import Source, from_one, of

_CONNECTIONS: Final = "Celeriac has no messaging of its own to offer; send with app.send_task, or install a client of your broker (redis, pika)"
_PROCESSES: Final = "use multiprocessing: executors may have children"
_DECLARED: Final = from_one("celeriac.queues", "Broadcast", "Exchange", "Queue", "binding")
_UUID: Final = {"uuid": "celeriac.utils:uuid"}
_IMPORTS: Final = {"symbol_by_name": "celeriac.compat.helpers.imports:symbol_by_name"}
_CACHED: Final = {"cached_property": "functools:cached_property"}

MODULES: Final[Mapping[str, Source]] = {
    "kombu": of(
        names={
            "__version__": "celeriac.compat.versions:KOMBU_TEXT",
            "VERSION": "celeriac.compat.versions:KOMBU",
            "version_info": "celeriac.compat.versions:KOMBU",
            "Producer": "celeriac.compat.seams.producer:Producer",
            **from_one("celeriac.queues", "Exchange", "Queue", "binding"),
            **_UUID,
        },
        missing=dict.fromkeys(("Connection", "BrokerConnection", "Consumer", "parse_url", "pools"), _CONNECTIONS),
    ),
    "kombu.common": of(
        names={"Broadcast": "celeriac.queues:Broadcast", **_UUID},
        missing=dict.fromkeys(("maybe_declare", "eventloop", "itermessages", "drain_consumer"), _CONNECTIONS),
    ),
    "kombu.entity": of(names=_DECLARED),
    "kombu.exceptions": of(
        names={
            "KombuError": "celeriac.exceptions:CeleriacError",
            "SerializationError": "celeriac.exceptions:CeleriacError",
            **from_one("celeriac.exceptions", "ContentDisallowed", "DecodeError", "EncodeError", "OperationalError"),
        }
    ),
    "kombu.log": of(names=from_one("celeriac.utils.log", "LOG_LEVELS", "get_logger")),
    "kombu.serialization": of(
        "celeriac.serialization", names={"registry": "celeriac.compat.seams.serialization:registry"}
    ),
    "kombu.utils": of(names=_UUID | _IMPORTS | _CACHED),
    "kombu.utils.encoding": of("celeriac.compat.helpers.encoding"),
    "kombu.utils.functional": of("celeriac.compat.helpers.functional"),
    "kombu.utils.imports": of(names=_IMPORTS),
    "kombu.utils.json": of(
        "celeriac.compat.helpers.json",
        names={"register_type": "celeriac.serialization:register_type"},
    ),
    "kombu.utils.objects": of(names=_CACHED),
    "kombu.utils.url": of(
        names={"maybe_sanitize_url": "celeriac.core.urls:mask", "sanitize_url": "celeriac.core.urls:mask"}
    ),
    "kombu.utils.uuid": of(names=_UUID),
    "billiard": of(
        names={
            "__version__": "celeriac.compat.versions:BILLIARD_TEXT",
            "VERSION": "celeriac.compat.versions:BILLIARD",
            **from_one(
                "multiprocessing", "Event", "Lock", "Manager", "Pipe", "Pool", "Process", "Queue", "Semaphore", "Value"
            ),
            **from_one("multiprocessing", "active_children", "cpu_count", "current_process", "get_context"),
        }
    ),
    "billiard.einfo": of(
        names={
            "ExceptionInfo": "celeriac.compat.helpers.errors:ExceptionInfo",
            "ExceptionWithTraceback": "celeriac.compat.helpers.errors:ExceptionWithTraceback",
        }
    ),
    "billiard.exceptions": of(
        names={
            **from_one(
                "celeriac.exceptions", "SoftTimeLimitExceeded", "Terminated", "TimeLimitExceeded", "WorkerLostError"
            ),
            **from_one("multiprocessing", "AuthenticationError", "BufferTooShort", "ProcessError", "TimeoutError"),
        }
    ),
    "billiard.pool": of(
        names={"Pool": "multiprocessing.pool:Pool", "Worker": "celeriac.compat.seams.pool:Worker"},
    ),
}

INSTEAD: Final[Mapping[str, str]] = {
    "kombu": _CONNECTIONS,
    "billiard": _PROCESSES,
}
