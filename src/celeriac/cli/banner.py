"""What a worker says of itself at its start: what runs where."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from celeriac import __version__
from celeriac.client.registry import TaskRegistry
from celeriac.core.settings import Settings
from celeriac.core.urls import scheme
from celeriac.worker.worker import Worker

EXECUTORS = {"process": "process", "thread": "thread", "async": "coroutine"}
INTERNAL = ("celery.", "celeriac.internal.")
"""Names of tasks that a worker brings along itself."""


def banner_lines(worker: Worker) -> list[str]:
    """Return the lines; passwords are masked."""
    app, settings = worker.app, worker.app.settings
    fields = [
        ("app", app.main or "__main__"),
        ("broker", app.broker.shown_url() + _kind_of(app.locations.broker)),
        ("results", app.backend.shown_url() if app.backend.stores else "not kept"),
        ("queues", ", ".join(worker.queues)),
        ("executors", ", ".join(_executors(worker))),
        ("limits", _limits(settings)),
        ("lease", _lease(settings, app.locations.broker)),
        ("grace", f"{worker.grace_s:g} s for running tasks when it stops"),
    ]
    head = f"{worker.hostname}  celeriac {__version__}, Python {platform.python_version()}, {platform.system()}"
    return [head, *(f"  {name:<10} {value}" for name, value in fields), *_tasks(app.tasks)]


def _kind_of(url: str) -> str:
    return "  (embedded: for development)" if scheme(url) == "sqlite" else ""


def _lease(settings: Settings, url: str) -> str:
    if scheme(url) in ("amqp", "amqps", "pyamqp"):
        return f"as long as the connection to RabbitMQ lives, heartbeat {settings.broker_heartbeat:g} s"
    return f"{settings.worker_lease_s:g} s, renewed every {settings.worker_heartbeat_s:g} s"


def _executors(worker: Worker) -> Iterator[str]:
    for kind, (count, slots) in worker.sizes.items():
        number = count * slots
        noun = EXECUTORS.get(kind, kind)
        if kind == "process" and (limits := worker.autoscale) is not None:
            yield f"{limits.least} to {limits.most} processes"
            continue
        yield f"{number} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


def _limits(settings: Settings) -> str:
    hard, soft = settings.task_time_limit, settings.task_soft_time_limit
    limits = [f"{name} {value:g} s" for name, value in (("hard", hard), ("soft", soft)) if value is not None]
    return f"{', '.join(limits) or 'none'}, for tasks that name no time limit of their own"


def _tasks(tasks: TaskRegistry) -> Iterator[str]:
    names = sorted(name for name in tasks if not name.startswith(INTERNAL))
    if not names:
        yield "  no tasks are registered: import the modules that define them, or name them in include=[...]"
        return
    yield f"  {len(names)} task{'' if len(names) == 1 else 's'}"
    width = max(len(name) for name in names)
    for name in names:
        yield f"    {name:<{width}}  {tasks[name].executor}"
