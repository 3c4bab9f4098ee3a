"""The figures of `inspect stats`, under Celery's names."""

from __future__ import annotations

import os
import resource
import time
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from celeriac.core.setting_secrets import censor
from celeriac.core.urls import mask
from celeriac.worker.control.records import plain
from celeriac.worker.control.state import ControlState, parts_of

_USAGE: Final = (
    "utime",
    "stime",
    "maxrss",
    "ixrss",
    "idrss",
    "isrss",
    "minflt",
    "majflt",
    "nswap",
    "inblock",
    "oublock",
    "msgsnd",
    "msgrcv",
    "nsignals",
    "nvcsw",
    "nivcsw",
)


def statistics(state: ControlState) -> dict[str, Any]:
    """Return what Celery's `stats` tells, as far as it has a meaning here."""
    parts = parts_of(state)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told: dict[str, Any] = {
        "total": dict(parts.events.tally.by_task),
        "pid": os.getpid(),
        "clock": str(parts.events.clock.value),
        "uptime": int(time.monotonic() - parts.started_at),
        "pool": _pool(state),
        "broker": _broker(state),
        "prefetch_count": parts.prefetch_count(),
        "rusage": {name: getattr(usage, f"ru_{name}") for name in _USAGE},
    }
    limits = parts.crew.limits
    if limits is not None:
        told["autoscaler"] = {
            "max": limits.most,
            "min": limits.least,
            "current": parts.crew.size,
            "qty": len(parts.entries),
        }
    return told


def _pool(state: ControlState) -> dict[str, Any]:
    parts, settings = parts_of(state), state.app.settings
    handles = [handle for handle in parts.pool.handles if not handle.retiring]
    most = settings.worker_max_tasks_per_child
    done = [handle.tasks_done for handle in handles]
    total = sum(done)
    return {
        "implementation": "celeriac.worker.pool:Pool",
        "max-concurrency": sum(handle.slots for handle in handles),
        "processes": [handle.pid for handle in handles if handle.pid],
        "max-tasks-per-child": "N/A" if most is None else most,
        "put-guarded-by-semaphore": False,
        "timeouts": [settings.task_soft_time_limit or 0, settings.task_time_limit or 0],
        "writes": {
            "total": total,
            "avg": f"{1 / len(done):.2f}" if done else "0.00",
            "all": ", ".join(f"{count / total:.2f}" if total else "0.00" for count in done),
            "raw": ", ".join(map(str, done)),
            "strategy": "a free slot first",
            "inqueues": {"total": len(handles), "active": sum(bool(handle.running) for handle in handles)},
        },
    }


def _broker(state: ControlState) -> dict[str, Any]:
    settings = state.app.settings
    url = urlsplit(state.app.locations.broker.split(";")[0])
    try:
        port = url.port
    except ValueError:  # several nodes in one URL
        port = None
    return {
        "hostname": url.hostname,
        "userid": unquote(url.username) if url.username else None,
        "virtual_host": unquote(url.path[1:]) or "/",
        "port": port,
        "insist": False,
        "ssl": bool(settings.broker_use_ssl) or url.scheme in ("rediss", "amqps"),
        "transport": url.scheme,
        "connect_timeout": settings.broker_connection_timeout,
        "transport_options": plain(censor("broker_transport_options", settings.broker_transport_options)),
        "login_method": None,
        "uri_prefix": None,
        "heartbeat": settings.broker_heartbeat,
        "failover_strategy": "round-robin",
        "alternates": [mask(one) for one in state.app.locations.broker.split(";")[1:]],
        "credential_provider": None,
    }
