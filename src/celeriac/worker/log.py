"""The lines about tasks that an operator reads, close to Celery's words, so that what searches logs goes on finding them.

Each carries a dict `data` (`extra=`, as in Celery) with id, name and what else is known, which JSON logs show as fields.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from celeriac.client.stdio import flush_printed
from celeriac.core.effects import Effects
from celeriac.core.message import Message
from celeriac.core.outcome import (
    Crashed,
    Failed,
    Ignored,
    Outcome,
    Rejected,
    ReplacedBy,
    RetryAsked,
    Revoked,
    Succeeded,
    TimedOut,
    Unrunnable,
)
from celeriac.wire.short_repr import short_repr
from celeriac.wire.signing import is_sealed
from celeriac.wire.task_v2 import HIDDEN

ends = logging.getLogger("celeriac.app.trace")
arrivals = logging.getLogger("celeriac.worker.strategy")


def describe_arrival(message: Message) -> None:
    """Log that a worker has taken a message; never raises."""
    if not arrivals.isEnabledFor(logging.INFO):
        return
    headers = message.headers
    data = {
        "id": message.id,
        "name": message.task,
        "args": headers.get("argsrepr"),
        "kwargs": headers.get("kwargsrepr"),
        "eta": headers.get("eta"),
    }
    _log(arrivals, logging.INFO, "Task %s[%s] received", message, data)


def describe_end(
    message: Message,
    outcome: Outcome,
    effects: Effects,
    runtime_s: float,
    now: float,
    throws: Sequence[type[BaseException]] = (),
) -> None:
    """Log how one task ended, with the level that fits; never raises.

    `now` in Unix seconds.  `throws`: exceptions that the task is known to raise, which are nothing to worry about.
    """
    flush_printed()
    level = logging.INFO
    if isinstance(outcome, Succeeded):
        # By far the most frequent line: nothing is formatted unless somebody reads it.
        if ends.isEnabledFor(level):
            value = HIDDEN if is_sealed(message.content_type) else short_repr(outcome.value)
            data = _data(message, runtime=runtime_s, return_value=value)
            _log(ends, level, "Task %s[%s] succeeded in %ss: %s", message, data, runtime_s, value)
        return
    match outcome:
        case RetryAsked() if effects.again is not None:
            shown = _shown(outcome.exc)
            data = _data(message, runtime=runtime_s, exc=shown, next_retry=effects.again.retries)
            when = f"Retry in {max(0.0, effects.again.not_before - now):.3g}s"
            _log(ends, level, "Task %s[%s] retry: %s: %s", message, data, when, shown)
        case Failed(exc=exc) | RetryAsked(exc=exc) if throws and isinstance(exc, tuple(throws)):
            data = _data(message, runtime=runtime_s, exc=_shown(exc))
            _log(ends, level, "Task %s[%s] raised expected: %s", message, data, data["exc"])
        case Failed(exc=exc) | RetryAsked(exc=exc):
            data = _data(message, runtime=runtime_s, exc=_shown(exc))
            _log(ends, logging.ERROR, "Task %s[%s] raised unexpected: %s", message, data, data["exc"], exc=exc)
        case Ignored():
            _log(ends, level, "Task %s[%s] ignored", message, _data(message, runtime=runtime_s))
        case ReplacedBy(signature=signature):
            data = _data(message, runtime=runtime_s)
            _log(ends, level, "Task %s[%s] was replaced by %s", message, data, signature.get("task"))
        case Rejected(exc=exc):
            _log(ends, logging.WARNING, "Task %s[%s] %s", message, _data(message, runtime=runtime_s), exc)
        case TimedOut(limit_s=limit_s):
            _log(ends, logging.ERROR, "Task %s[%s]: hard time limit (%gs) exceeded", message, _data(message), limit_s)
        case Crashed(reason=reason, parked=parked):
            text = "Task %s[%s] was parked: %s" if parked else "Task %s[%s] failed: %s"
            _log(ends, logging.CRITICAL, text, message, _data(message), reason)
        case Revoked(reason="terminated", signum=signum):
            _log(ends, level, "Task %s[%s] was terminated (%s)", message, _data(message, signum=signum), signum)
        case Revoked(reason=reason):
            _log(ends, level, "Discarding revoked task: %s[%s] (%s)", message, _data(message), reason)
        case Unrunnable(reason=reason):
            _log(ends, logging.ERROR, "Task %s[%s] was parked: %s", message, _data(message), reason)


def _shown(exc: BaseException) -> str:
    try:
        return repr(exc)
    except Exception:  # any __repr__ may raise anything, and the task has ended all the same
        return f"<unrepresentable {type(exc).__name__}>"


def _data(message: Message, **more: Any) -> dict[str, Any]:
    return {"id": message.id, "name": message.task, "retries": message.headers.get("retries") or 0, **more}


def _log(
    logger: logging.Logger,
    level: int,
    text: str,
    message: Message,
    data: dict[str, Any],
    *values: object,
    exc: BaseException | None = None,
) -> None:
    """Log one line; a handler that raises must not become the end of a task."""
    try:
        # Without the frame of ours on top.
        frames = exc.__traceback__ if exc is not None else None
        info = (type(exc), exc, frames.tb_next or frames) if exc is not None and frames is not None else None
        extra = {"data": data, "task_name": message.task, "task_id": message.id}
        logger.log(level, text, message.task, message.id, *values, exc_info=info, extra=extra)
    except Exception:
        if sys.__stderr__ is not None:
            with contextlib.suppress(OSError, ValueError):
                traceback.print_exc(file=sys.__stderr__)
