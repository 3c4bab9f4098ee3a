"""What Celery's objects have and ours do not: the reason, told to whoever asks for it."""

from __future__ import annotations

from typing import Final

_CONNECTIONS: Final = "an app keeps its connections to itself; send with send_task or apply_async, and see app.broker"
_PARTS: Final = "the app is built in one place and has no parts to be exchanged by name"
_PLATFORM: Final = "ask Python's own `platform` or `sys`"

OF_APPS: Final = {
    "Beat": "run `celeriac beat`, `celeriac worker --beat`, or celeriac.beat.Service(app).start()",
    "events_cls": _PARTS,
    "IS_WINDOWS": _PLATFORM,
    "IS_macOS": _PLATFORM,
    "SYSTEM": _PLATFORM,
    "Pickler": "apps are not pickled; workers import them by name",
    "annotations": "read app.conf.task_annotations",
    "default_producer": _CONNECTIONS,
    "pool": _CONNECTIONS,
    "producer_or_acquire": _CONNECTIONS,
    "producer_pool": _CONNECTIONS,
    "amqp_cls": _PARTS,
    "backend_cls": _PARTS,
    "builtin_fixups": _PARTS,
    "control_cls": _PARTS,
    "create_task_cls": "app.Task is the base class; give another one as task_cls=",
    "loader": "settings come by config_from_object, and modules by include= or autodiscover_tasks",
    "loader_cls": "settings come by config_from_object, and modules by include= or autodiscover_tasks",
    "log_cls": _PARTS,
    "on_init": "override __init__ and call super()",
    "prepare_config": "settings are checked as they are set; see config_from_object",
    "registry_cls": _PARTS,
    "steps": "a worker is not assembled from steps; see the signals worker_init and worker_ready",
    "subclass_with_self": _PARTS,
    "task_cls": "read app.Task",
    "type_checker": "arguments are checked by Task.check_arguments; typing=False switches it off",
    "user_options": "the command line takes no options of a program's own; use the environment or a setting of yours",
    "Worker": "run `celeriac worker`, app.worker_main(), or celeriac.contrib.testing.worker.start_worker in tests",
    "WorkController": "run `celeriac worker`, app.worker_main(), or celeriac.contrib.testing.worker.start_worker in tests",
}
"""Attributes of Celery's app."""

OF_TASKS: Final = {
    "Request": "how a worker runs a task is its own affair; handlers and signals tell of it",
    "Strategy": "how a worker runs a task is its own affair; handlers and signals tell of it",
    "start_strategy": "how a worker runs a task is its own affair; handlers and signals tell of it",
    "abstract": "a class is a task once it is registered",
    "backend": "see app.backend",
    "on_replace": "replace() ends the task by raising",
    "send_event": "send it with app.events.default_dispatcher()",
    "add_around": "use task_annotations with '@method'",
    "add_trail": "what a task sends is noted in self.request.children",
    "annotate": "task_annotations is applied by the app",
    "from_config": "options that a task does not give are read from the settings",
    "request_stack": "self.request is the request of the call that runs here; push_request and pop_request make one up",
}
"""Attributes of Celery's tasks."""


OF_RESULTS: Final = {
    "backend": "see app.backend",
}
"""Attributes of Celery's results."""

_PLANNED: Final = "a workflow is worked out when it is sent, and by freeze()"

OF_SIGNATURES: Final = {
    "AsyncResult": "see app.AsyncResult",
    "election": "our workers elect nobody; send the task once, or make it unique",
    "prepare_steps": _PLANNED,
    "run": _PLANNED,
    "stamp_links": "stamp() puts stamps on links, too",
}
"""Attributes of Celery's signatures and workflows."""

OF_CONNECTIONS: Final = dict.fromkeys(
    ("Consumer", "Producer", "SimpleQueue", "channel", "default_channel", "drain_events", "transport"),
    "it only stands for the app's connections; send with app.send_task, look at queues with app.broker.admin()",
)
"""Attributes of Celery's connections."""

OF_CONTROL: Final = {
    "Mailbox": _PARTS,
    "mailbox": "requests are sent by broadcast()",
}
"""Attributes of Celery's `app.control`."""


def explain(owner: str, name: str, reasons: dict[str, str]) -> AttributeError:
    """Return the error for an attribute that does not exist; where Celery has it, it says what to do instead."""
    reason = reasons.get(name)
    return AttributeError(f"{owner} has no attribute {name!r}" + (f": {reason}" if reason else ""))
