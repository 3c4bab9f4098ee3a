"""What is measured: each system is a library on a broker, in a variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench import commands

REDIS, RABBITMQ, SQLITE = "redis", "rabbitmq", "sqlite"
RPC: Final = "rpc://"
OURS: Final = "celeriac"
BARE: Final = "bare"
THREAD, ASYNC, LATER, RESULTS = "thread", "async", "later", "results"
"""Kinds of tasks that a workload may want, see `bench.shape`; `later`: with a delay; `results`: with results that are kept."""


@dataclass(frozen=True)
class System:
    """A library on a broker."""

    name: str
    library: str
    """Names its environment, see `bench.environments`; `celeriac` and `bare` are at home in ours."""
    broker: str
    worker: commands.Make
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the library's module does with them, or its command line."""
    backend: str = ""
    """Where results are kept, if not where the broker is: `redis`, or a URL."""
    io: tuple[str, ...] = ()
    """The kinds of tasks that it has for waiting."""
    portion: float = 1.0
    """Part of each count: less for a system that would take minutes, more for one that would be over before it is seen."""
    module: str = ""
    """The program, if it is not `bench.systems.` and the library."""
    default: bool = True
    """Whether it is measured where no system is named."""

    @property
    def program(self) -> str:
        """The module with the app and the client."""
        return self.module or f"bench.systems.{self.library}"

    @property
    def is_peer(self) -> bool:
        """Whether it is somebody else's task queue."""
        return self.library not in (OURS, BARE)

    @property
    def celery(self) -> str:
        """The name of Celery prefork on the same broker."""
        return f"celery-{self.broker}"

    @property
    def bare(self) -> str:
        """The name of the bare loop that does the same work on the same broker."""
        return f"bare-{self.broker}{'-classic' if self.name.endswith('-classic') else ''}"


def _celeriac(name: str, broker: str, options: Mapping[str, Any] | None = None, **more: Any) -> System:
    backend = RPC if broker == RABBITMQ else ""
    return System(name, OURS, broker, commands.celeriac, options or {}, backend, (THREAD, ASYNC), **more)


PREFETCH: Final = {"worker_prefetch_multiplier": 64, "worker_disable_rate_limits": True}
"""What Celery's guide to optimizing says for many short tasks."""
LATE: Final = {"task_acks_late": True, "task_reject_on_worker_lost": True}
"""Celery as it has to be set so that a crash loses no task."""
CONFIRMED: Final = {"broker_transport_options": {"confirm_publish": True}}
"""And so that on RabbitMQ no message is lost on its way there."""


def _celery(name: str, broker: str, pool: str = "prefork", safe: bool = False, **more: Any) -> System:
    settings = {**PREFETCH, **(LATE if safe else {}), **(CONFIRMED if safe and broker == RABBITMQ else {})}
    return System(
        name,
        "celery",
        broker,
        commands.celery,
        {"pool": pool, "settings": settings},
        RPC if broker == RABBITMQ else "",
        (THREAD,) if pool == "threads" else (),
        **more,
    )


def _bare(name: str, broker: str, options: Mapping[str, Any] | None = None, **more: Any) -> System:
    make = commands.bare_redis if broker == REDIS else commands.bare_rabbitmq
    return System(name, BARE, broker, make, options or {}, module=f"bench.bare.{broker}", **more)


_ALL: Final[tuple[System, ...]] = (
    _celeriac("celeriac-redis", REDIS),
    _celeriac("celeriac-redis-events", REDIS, {"worker_send_task_events": True}, default=False),
    _celeriac("celeriac-rabbitmq", RABBITMQ),
    _celeriac("celeriac-rabbitmq-classic", RABBITMQ, {"task_default_queue_type": "classic"}, default=False),
    _celeriac("celeriac-sqlite", SQLITE),
    _bare("bare-redis", REDIS, portion=5),
    _bare("bare-rabbitmq", RABBITMQ, portion=2),
    _bare("bare-rabbitmq-classic", RABBITMQ, {"classic": True}, portion=2, default=False),
    _celery("celery-redis", REDIS, portion=0.25),
    _celery("celery-redis-safe", REDIS, safe=True, portion=0.25, default=False),
    _celery("celery-redis-threads", REDIS, "threads", portion=0.25),
    _celery("celery-redis-solo", REDIS, "solo", portion=0.25, default=False),
    _celery("celery-rabbitmq", RABBITMQ, portion=0.5),
    _celery("celery-rabbitmq-safe", RABBITMQ, safe=True, portion=0.25, default=False),
    _celery("celery-rabbitmq-threads", RABBITMQ, "threads", portion=0.5),
    _celery("celery-rabbitmq-solo", RABBITMQ, "solo", portion=0.5, default=False),
    System("dramatiq-redis", "dramatiq", REDIS, commands.dramatiq, io=(THREAD,)),
    System("dramatiq-rabbitmq", "dramatiq", RABBITMQ, commands.dramatiq, backend=REDIS, io=(THREAD,)),
    System(
        "dramatiq-rabbitmq-safe",
        "dramatiq",
        RABBITMQ,
        commands.dramatiq,
        {"confirm_delivery": True},
        REDIS,
        default=False,
    ),
    System("taskiq-list", "taskiq", REDIS, commands.taskiq, {"broker": "list"}, io=(THREAD, ASYNC)),
    System("taskiq-stream", "taskiq", REDIS, commands.taskiq, {"broker": "stream"}, io=(THREAD, ASYNC)),
    System("taskiq-rabbitmq", "taskiq", RABBITMQ, commands.taskiq, {"broker": "amqp"}, REDIS, (THREAD, ASYNC)),
    System("huey-process", "huey", REDIS, commands.huey, {"worker": "process"}),
    System("huey-thread", "huey", REDIS, commands.huey, {"worker": "thread"}, io=(THREAD,)),
    System("rq", "rq", REDIS, commands.rq, {"worker": "rq.worker.Worker"}, portion=0.1),
    System("rq-simple", "rq", REDIS, commands.rq, {"worker": "rq.worker.SimpleWorker"}, portion=0.25),
    System("saq", "saq", REDIS, commands.saq, io=(ASYNC,), portion=0.5),
    System("streaq", "streaq", REDIS, commands.streaq, io=(THREAD, ASYNC), portion=0.5),
    System("arq", "arq", REDIS, commands.arq, io=(ASYNC,), portion=0.5),
    System("repid", "repid", REDIS, commands.repid, io=(ASYNC,)),
)
SYSTEMS: Final[Mapping[str, System]] = {system.name: system for system in _ALL}
DEFAULT: Final = tuple(system for system in _ALL if system.default)
