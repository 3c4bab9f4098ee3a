"""Ends that a task did not choose, told to its handlers and to whoever listens: limits, crashes, revokes, calls that can't run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celeriac.client import signals
from celeriac.client.context import Request, current_request
from celeriac.client.execution import AnyTask, announce_failure, announce_retry
from celeriac.core.decide import end_of_retries
from celeriac.core.outcome import Crashed, Outcome, RetryAsked, Revoked, TimedOut, Unrunnable
from celeriac.exceptions import NotRegistered, TimeLimitExceeded, WorkerLostError

if TYPE_CHECKING:
    from celeriac.core.message import Message

logger = logging.getLogger("celeriac.task")


def announce_ending(
    task: AnyTask | None,
    request: Request,
    message: Message,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    outcome: Outcome,
) -> None:
    """Call the handlers and send the signals of an end that was found outside of the task; what they raise is logged."""
    token = current_request.set(request)
    try:
        _announce(task, request, message, args, kwargs, outcome)
    except BaseException:  # also sys.exit(): the job has ended, and must be reported so
        logger.exception("a handler of task %s[%s] raised", message.task, message.id)
    finally:
        current_request.reset(token)


def _announce(
    task: AnyTask | None,
    request: Request,
    message: Message,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    outcome: Outcome,
) -> None:
    match outcome:
        case TimedOut() if task is not None:
            announce_failure(task, request, args, kwargs, TimeLimitExceeded(outcome.limit_s), None)
        case Crashed() if task is not None:
            lost = RetryAsked(WorkerLostError(outcome.reason), "", automatic=True)
            failed = end_of_retries(task.policy, request.id, request.retries, lost)
            if task.policy.retry_on_worker_lost and failed is None:
                announce_retry(task, request, args, kwargs, lost)
            else:
                announce_failure(task, request, args, kwargs, lost.exc, None)
        case Revoked():
            signals.task_revoked.send(
                task if task is not None else message.task,
                request=request,
                terminated=outcome.reason == "terminated",
                signum=outcome.signum,
                expired=outcome.reason == "expired",
            )
        case Unrunnable(exc=NotRegistered() as unknown):
            signals.task_unknown.send(request.hostname, message=message, exc=unknown, name=message.task, id=message.id)
            signals.task_rejected.send(request.hostname, message=message, exc=unknown)
        case Unrunnable():
            signals.task_rejected.send(request.hostname, message=message, exc=outcome.exc)
            if task is not None:
                announce_failure(task, request, args, kwargs, outcome.exc, None)
