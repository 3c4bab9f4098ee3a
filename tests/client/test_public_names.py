"""Programs find what they import from Celery under the same module names."""

from __future__ import annotations

import importlib

import pytest

NAMES = {
    "celeriac": "Celery Task AsyncResult Signature signature shared_task current_app current_task",
    "celeriac.app": "Celery app_or_default shared_task",
    "celeriac.app.task": "Task Context",
    "celeriac.beat": "BeatLazyFunc EmbeddedService PersistentScheduler ScheduleEntry Scheduler SchedulingError Service",
    "celeriac.canvas": "Signature signature maybe_signature subtask",
    "celeriac.contrib.abortable": "AbortableTask AbortableAsyncResult",
    "celeriac.exceptions": (
        "AlreadyRegistered BackendError BackendGetMetaError BackendStoreError CeleryError ChordError Ignore"
        " ImproperlyConfigured IncompleteStream InvalidTaskError MaxRetriesExceededError NotRegistered OperationalError"
        " QueueNotFound Reject Retry SecurityError SoftTimeLimitExceeded TaskError TaskPredicate TaskRevokedError"
        " Terminated TimeLimitExceeded TimeoutError WorkerLostError"
    ),
    "celeriac.result": (
        "AsyncResult EagerResult GroupResult ResultBase ResultSet result_from_tuple allow_join_result denied_join_result"
        " assert_will_not_block task_join_will_block"
    ),
    "celeriac.schedules": (
        "BaseSchedule ParseException crontab crontab_parser maybe_schedule schedstate schedule solar"
    ),
    "celeriac.signals": "task_prerun task_postrun task_success task_failure task_retry task_revoked worker_ready",
    "celeriac.states": "PENDING STARTED SUCCESS FAILURE RETRY REVOKED READY_STATES UNREADY_STATES EXCEPTION_STATES",
    "celeriac.utils": "uuid gen_unique_id gen_task_name",
    "celeriac.utils.log": "get_task_logger get_logger",
    "celeriac.queues": "Queue Exchange Broadcast binding",
}


@pytest.mark.parametrize("module", NAMES)
def test_a_module_has_celery_s_names(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []
