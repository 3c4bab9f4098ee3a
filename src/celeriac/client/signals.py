"""Celery's signals: what can be listened to in clients and in workers.

Where each is sent: `..._task_publish` in the process that calls; `task_prerun` to `task_postrun`, `task_success`,
`task_failure` and `task_retry` in the executor that ran the task; `task_received`, `task_rejected` and `worker_ready` in the
worker's core, where a receiver must not block; `worker_process_init` in each executor before its first task.
"""

from __future__ import annotations

from typing import Final

from celeriac.client.dispatching import Signal


def _signal(name: str, *providing_args: str) -> Signal:
    return Signal(name, frozenset(providing_args))


before_task_publish: Final = _signal(
    "before_task_publish", "body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"
)
after_task_publish: Final = _signal("after_task_publish", "body", "exchange", "routing_key", "headers")
task_received: Final = _signal("task_received", "request")
task_prerun: Final = _signal("task_prerun", "task_id", "task", "args", "kwargs")
task_postrun: Final = _signal("task_postrun", "task_id", "task", "args", "kwargs", "retval", "state")
task_success: Final = _signal("task_success", "result", "runtime")
task_retry: Final = _signal("task_retry", "request", "reason", "einfo")
task_failure: Final = _signal("task_failure", "task_id", "exception", "args", "kwargs", "traceback", "einfo")
task_internal_error: Final = _signal(
    "task_internal_error", "task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"
)
task_revoked: Final = _signal("task_revoked", "request", "terminated", "signum", "expired")
task_rejected: Final = _signal("task_rejected", "message", "exc")
task_unknown: Final = _signal("task_unknown", "message", "exc", "name", "id")

celeryd_init: Final = _signal("celeryd_init", "instance", "conf", "options")
celeryd_after_setup: Final = _signal("celeryd_after_setup", "instance", "conf")
import_modules: Final = _signal("import_modules")
worker_init: Final = _signal("worker_init")
worker_before_create_process: Final = _signal("worker_before_create_process")
worker_process_init: Final = _signal("worker_process_init")
worker_process_shutdown: Final = _signal("worker_process_shutdown", "pid", "exitcode")
worker_ready: Final = _signal("worker_ready")
worker_shutting_down: Final = _signal("worker_shutting_down", "sig", "how", "exitcode")
worker_shutdown: Final = _signal("worker_shutdown")
heartbeat_sent: Final = _signal("heartbeat_sent")

setup_logging: Final = _signal("setup_logging", "loglevel", "logfile", "format", "colorize")
after_setup_logger: Final = _signal("after_setup_logger", "logger", "loglevel", "logfile", "format", "colorize")
after_setup_task_logger: Final = _signal(
    "after_setup_task_logger", "logger", "loglevel", "logfile", "format", "colorize"
)

beat_init: Final = _signal("beat_init")
beat_embedded_init: Final = _signal("beat_embedded_init")
user_preload_options: Final = _signal("user_preload_options", "app", "options")
