"""The fields of a task's events, as Celery's monitors read them."""

from __future__ import annotations

from typing import Any, Final

from celeriac.client.execution import AnyTask
from celeriac.core.effects import Effects, Requeue
from celeriac.core.message import Message
from celeriac.core.outcome import (
    Crashed,
    Failed,
    Outcome,
    Rejected,
    RetryAsked,
    Revoked,
    Succeeded,
    TimedOut,
    Unrunnable,
)
from celeriac.exceptions import TimeLimitExceeded, WorkerLostError
from celeriac.wire.short_repr import MAX_CHARS, short_repr
from celeriac.wire.signing import is_sealed
from celeriac.wire.task_v2 import HIDDEN

Event = dict[str, Any]

TRACEBACK_MAX_CHARS: Final = 16_384
"""Of a longer one the end is told, which says what was raised."""


def received(message: Message) -> Event:
    """Say that a worker has taken a message."""
    said = message.headers.get
    return {
        "type": "task-received",
        "uuid": message.id,
        "name": message.task,
        "args": said("argsrepr"),
        "kwargs": said("kwargsrepr"),
        "root_id": said("root_id"),
        "parent_id": said("parent_id"),
        "retries": said("retries") or 0,
        "eta": said("eta"),
        "expires": said("expires"),
    }


def started(message: Message) -> Event:
    """Say that a task has begun."""
    return {"type": "task-started", "uuid": message.id}


def given_up(message: Message, reason: str) -> Event:
    """Say that a task has failed of which no executor could tell."""
    return {"type": "task-failed", "uuid": message.id, "exception": reason, "traceback": ""}


def ended(message: Message, task: AnyTask | None, outcome: Outcome, effects: Effects, runtime_s: float) -> Event | None:
    """Say how a run has ended; None for an end of which nothing is told: ignored, replaced, and chords, whose members have told theirs."""
    match outcome:
        case Succeeded(value=value):
            most = task.resultrepr_maxsize if task is not None else MAX_CHARS
            shown = HIDDEN if is_sealed(message.content_type) else short_repr(value, most)
            return {"type": "task-succeeded", "uuid": message.id, "result": _sendable(shown), "runtime": runtime_s}
        case RetryAsked(exc=exc, traceback=text) if effects.again is not None:
            return _raised("task-retried", message, exc, text)
        case Crashed(reason=reason) if effects.again is not None:
            return _raised("task-retried", message, WorkerLostError(reason), "")
        case Failed(exc=exc, traceback=text) | RetryAsked(exc=exc, traceback=text):
            return _raised("task-failed", message, exc, text)
        case TimedOut(limit_s=limit_s):
            return _raised("task-failed", message, TimeLimitExceeded(limit_s), "")
        case Crashed(reason=reason):
            return _raised("task-failed", message, WorkerLostError(reason), "")
        case Unrunnable(exc=exc):
            return _raised("task-failed", message, exc, "")
        case Rejected():
            return {"type": "task-rejected", "uuid": message.id, "requeue": isinstance(effects.verdict, Requeue)}
        case Revoked(reason=reason, signum=signum):
            how = {"terminated": reason == "terminated", "signum": signum, "expired": reason == "expired"}
            return {"type": "task-revoked", "uuid": message.id, **how}
    return None


def _raised(kind: str, message: Message, exc: BaseException, traceback: str) -> Event:
    return {
        "type": kind,
        "uuid": message.id,
        "exception": _sendable(short_repr(exc)),
        "traceback": _sendable(traceback[-TRACEBACK_MAX_CHARS:]),
    }


def _sendable(text: str) -> str:
    """Return a text that every encoder takes: one that only an event shows must not fail the task."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
