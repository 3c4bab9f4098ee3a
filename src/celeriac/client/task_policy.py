"""From a task's options and the settings to what `decide` has to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeriac.core.policy import Policy
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.task import Task
    from celeriac.core.settings import Settings


def make_policy(task: Task[Any, Any], settings: Settings) -> Policy:
    """Return a task's policy; raises `ImproperlyConfigured` when its own soft limit lies beyond the hard one of the settings."""
    hard_s, soft_s = task.time_limit, task.soft_time_limit
    if soft_s is not None and hard_s is not None and soft_s >= hard_s:
        if task.is_explicit("soft_time_limit"):
            raise ImproperlyConfigured(
                f"task {task.name!r}: its soft_time_limit ({soft_s:g} s) must be below the time limit ({hard_s:g} s, by the"
                " setting task_time_limit); give the task a time_limit too"
            )
        soft_s = None
    backoff_s = float(task.retry_backoff)
    delay_s = float(task.default_retry_delay)
    automatic = task.retry_kwargs
    names_a_delay = "countdown" in automatic or task.is_explicit("default_retry_delay")
    if names_a_delay and not task.is_explicit("retry_backoff"):
        # A delay that the task names itself stands before the back-off that it does not name.
        backoff_s = 0.0
        delay_s = float(automatic.get("countdown", delay_s))
    limit = task.max_retries
    if "max_retries" in automatic and not task.is_explicit("max_retries"):
        limit = automatic["max_retries"]
    return Policy(
        max_retries=limit,
        default_retry_delay_s=delay_s,
        retry_backoff_s=backoff_s,
        retry_backoff_max_s=float(task.retry_backoff_max),
        retry_jitter=task.retry_jitter,
        ignore_result=task.ignore_result,
        store_errors_even_if_ignored=task.store_errors_even_if_ignored,
        acks_late=task.acks_late,
        acks_on_failure=_acks(task, task.acks_on_failure),
        acks_on_timeout=_acks(task, task.acks_on_timeout),
        reject_on_worker_lost=task.reject_on_worker_lost,
        retry_on_worker_lost=task.retry_on_worker_lost,
        soft_time_limit_s=soft_s,
        time_limit_s=hard_s,
        crash_limit=settings.task_crash_limit,
        loss_limit=settings.task_loss_limit,
    )


def _acks(task: Task[Any, Any], own: bool | None) -> bool:
    return task.acks_on_failure_or_timeout if own is None else own
