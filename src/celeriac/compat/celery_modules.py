"""Celery's modules: what each has here, and what to use instead of those that are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from celeriac.compat.source import Source, from_one, of

_STEPS: Final = (
    "a worker is not assembled from steps; connect to the signals worker_init, worker_ready and worker_shutdown"
)
_POOLS: Final = (
    "there are no pools by name: a task chooses its executor (@app.task(executor=...)), and the worker's -P a default"
)
_BACKENDS: Final = "result backends are not classes of Celery's; offer one in the entry points 'celeriac.result_backends' (see core/ports.py)"
_LOADERS: Final = "settings come by app.config_from_object, and modules by include= or app.autodiscover_tasks"
_COMMANDS: Final = "the command line takes no commands or options of a program's own; use celeriac.cli.main to run it"
_WORKERS: Final = (
    "the worker's parts are its own affair; see the signals, celeriac.worker.control and `celeriac worker`"
)
_PLATFORMS: Final = "use Python's own os, signal, pwd and resource"

_VERSION: Final = "celery.VERSION and celery.__version__ are there"
_GREEN: Final = "there are no pools of green threads; see the signals worker_process_init and worker_process_shutdown"
_SHUTDOWN: Final = "stop a worker by SIGTERM or app.control.shutdown()"

_STATE: Final = from_one(
    "celeriac.client.current",
    "current_app",
    "current_task",
    "get_current_app",
    "get_current_task",
    "get_current_worker_task",
    "set_default_app",
)
_HELPERS: Final = "celeriac.compat.helpers"

MODULES: Final[Mapping[str, Source]] = {
    "celery": of(
        "celeriac",
        names={
            "__version__": "celeriac.compat.versions:CELERY_TEXT",
            "VERSION": "celeriac.compat.versions:CELERY",
            "version_info": "celeriac.compat.versions:CELERY",
            "bugreport": f"{_HELPERS}.apps:bugreport",
            **from_one("celeriac.canvas", "GroupStampingVisitor", "StampingVisitor", "subtask"),
            "version_info_t": "celeriac.compat.versions:Version",
            **from_one("celeriac.utils", "uuid"),
        },
        missing={
            "SERIES": _VERSION,
            "VERSION_BANNER": _VERSION,
            "execute": "send with app.send_task",
            "log": "see app.log",
            "maybe_patch_concurrency": _POOLS,
            "messaging": "send with app.send_task",
        },
    ),
    "celery.__main__": of(names={"main": "celeriac.cli:main"}),
    "celery._state": of(
        names=_STATE
        | {
            "_set_current_app": "celeriac.client.current:set_current_app",
            "app_or_default": "celeriac.app:app_or_default",
            "default_app": "celeriac.client.current:current_app",
            "connect_on_app_finalize": "celeriac.client.current:share",
        },
        missing={
            "_task_stack": "the running task is celery.current_task; a request of a test's own is Task.push_request"
        },
    ),
    "celery.app": of("celeriac.app", names=_STATE | {"bugreport": f"{_HELPERS}.apps:bugreport"}),
    "celery.app.amqp": of(names={"AMQP": "celeriac.client.amqp:AMQP", "Queues": "celeriac.core.queues:QueueTable"}),
    "celery.app.base": of(
        names=from_one("celeriac.app", "Celery") | {"PendingConfiguration": "celeriac.client.conf:Conf"}
    ),
    "celery.app.control": of(
        names={"Control": "celeriac.client.control:Control", "Inspect": "celeriac.client.inspect:Inspect"}
    ),
    "celery.app.log": of(
        names={"Logging": "celeriac.client.log_setup:Logging", "TaskFormatter": "celeriac.utils.log:TaskFormatter"}
    ),
    "celery.app.registry": of(names={"TaskRegistry": "celeriac.client.registry:TaskRegistry"}),
    "celery.app.task": of("celeriac.app.task"),
    "celery.app.utils": of(names={"Settings": "celeriac.client.conf:Conf"}),
    "celery.app.trace": of("celeriac.compat.seams.trace"),
    "celery.beat": of("celeriac.beat", names={"DEFAULT_MAX_INTERVAL": "celeriac.compat.helpers.times:FIVE_MINUTES_S"}),
    "celery.bin": of(),
    "celery.bin.celery": of(names={"main": "celeriac.cli:main", "celery": "celeriac.cli.root:celeriac"}),
    "celery.canvas": of("celeriac.canvas", names={"maybe_subtask": "celeriac.canvas:maybe_signature"}),
    "celery.contrib": of(),
    "celery.contrib.abortable": of("celeriac.contrib.abortable"),
    "celery.contrib.django": of(),
    "celery.contrib.django.task": of("celeriac.contrib.django.task"),
    "celery.contrib.pytest": of("celeriac.contrib.pytest"),
    "celery.contrib.testing": of(),
    "celery.contrib.testing.app": of("celeriac.contrib.testing.app"),
    "celery.contrib.testing.manager": of("celeriac.contrib.testing.manager"),
    "celery.contrib.testing.mocks": of("celeriac.contrib.testing.mocks"),
    "celery.contrib.testing.tasks": of("celeriac.contrib.testing.tasks"),
    "celery.contrib.testing.worker": of("celeriac.contrib.testing.worker"),
    "celery.events": of("celeriac.events"),
    "celery.events.dispatcher": of("celeriac.events.dispatcher"),
    "celery.events.event": of("celeriac.events.event"),
    "celery.events.receiver": of("celeriac.events.receiver"),
    "celery.events.snapshot": of("celeriac.events.snapshot"),
    "celery.events.state": of("celeriac.events.state"),
    "celery.exceptions": of(
        "celeriac.exceptions",
        "celeriac.compat.helpers.warnings",
        names={"reraise": f"{_HELPERS}.errors:reraise", "RetryTaskError": "celeriac.exceptions:Retry"},
        missing={
            "AlwaysEagerIgnored": "no such warning is given",
            "CeleryCommandException": _COMMANDS,
            "SystemTerminate": _SHUTDOWN,
            "WorkerShutdown": _SHUTDOWN,
            "WorkerTerminate": _SHUTDOWN,
        },
    ),
    "celery.local": of(
        names={"Proxy": "celeriac.client.current:Proxy", "PromiseProxy": "celeriac.client.current:Proxy"}
    ),
    "celery.registry": of(names={"tasks": f"{_HELPERS}.apps:tasks"}),
    "celery.result": of("celeriac.result"),
    "celery.schedules": of("celeriac.schedules"),
    "celery.security": of("celeriac.security"),
    "celery.signals": of(
        "celeriac.signals",
        missing={
            "eventlet_pool_apply": _GREEN,
            "eventlet_pool_postshutdown": _GREEN,
            "eventlet_pool_preshutdown": _GREEN,
            "eventlet_pool_started": _GREEN,
            "task_sent": "use after_task_publish",
        },
    ),
    "celery.states": of("celeriac.states"),
    "celery.utils": of(
        "celeriac.utils",
        names={
            "cached_property": "functools:cached_property",
            "get_full_cls_name": f"{_HELPERS}.imports:get_full_cls_name",
            "worker_direct": f"{_HELPERS}.nodes:worker_direct",
            "nodename": f"{_HELPERS}.nodes:nodename",
            "nodesplit": f"{_HELPERS}.nodes:nodesplit",
        },
    ),
    "celery.utils.dispatch": of(names=from_one("celeriac.client.dispatching", "Signal")),
    "celery.utils.dispatch.signal": of(names=from_one("celeriac.client.dispatching", "Signal")),
    "celery.utils.functional": of(f"{_HELPERS}.functional"),
    "celery.utils.imports": of(f"{_HELPERS}.imports"),
    "celery.utils.iso8601": of(names={"parse_iso8601": f"{_HELPERS}.times:parse_iso8601"}),
    "celery.utils.log": of("celeriac.utils.log"),
    "celery.utils.nodenames": of(f"{_HELPERS}.nodes"),
    "celery.utils.saferepr": of(names={"saferepr": f"{_HELPERS}.encoding:saferepr"}),
    "celery.utils.serialization": of(f"{_HELPERS}.encoding"),
    "celery.utils.time": of(f"{_HELPERS}.times"),
    "celery.worker": of(missing={"WorkController": _WORKERS}),
    "celery.worker.control": of("celeriac.worker.control"),
    "celery.worker.request": of(names={"Request": "celeriac.client.context:Request"}),
}

INSTEAD: Final[Mapping[str, str]] = {
    "celery.app": "what belongs to the app stands in celeriac.app and on the app itself",
    "celery.app.amqp": "see app.amqp",
    "celery.app.annotations": "give task_annotations as a mapping or a list of them",
    "celery.app.autoretry": "autoretry_for is an option of tasks",
    "celery.app.backends": _BACKENDS,
    "celery.app.builtins": "app.tasks finds what every app has",
    "celery.app.defaults": "settings and their defaults stand in celeriac.core.settings; `celeriac report` shows those in force",
    "celery.app.events": "see app.events and celeriac.events",
    "celery.app.routes": "give task_routes as a mapping, a function or a list of them",
    "celery.app.trace": "how a task is run is the executor's own affair; listen to task_prerun and task_postrun",
    "celery.apps": _WORKERS,
    "celery.backends": _BACKENDS,
    "celery.beat": "see celeriac.beat",
    "celery.bin": _COMMANDS,
    "celery.bootsteps": _STEPS,
    "celery.concurrency": _POOLS,
    "celery.contrib": "see celeriac.contrib",
    "celery.contrib.migrate": "`celeriac dead` and app.broker.admin() move messages",
    "celery.contrib.rdb": "use breakpoint() with a worker of `celeriac worker -P solo`",
    "celery.contrib.sphinx": "document tasks with autofunction: a task has the docstring and signature of its function",
    "celery.events": "see celeriac.events",
    "celery.events.cursesmon": "run `celeriac events`",
    "celery.events.dumper": "run `celeriac events --dump`",
    "celery.execute": "send with app.send_task",
    "celery.fixups": "what Django needs is done when DJANGO_SETTINGS_MODULE is set",
    "celery.loaders": _LOADERS,
    "celery.local": "celeriac.client.current has Proxy",
    "celery.messaging": "send with app.send_task",
    "celery.platforms": _PLATFORMS,
    "celery.schedules": "see celeriac.schedules",
    "celery.security": "see celeriac.security, and the settings that begin with security_",
    "celery.states": "compare with the sets READY_STATES, EXCEPTION_STATES...",
    "celery.utils": "use the standard library",
    "celery.worker": _WORKERS,
}
"""Modules that are not here, or whose parts are not, each with what to do instead; a prefix holds for all below it."""
