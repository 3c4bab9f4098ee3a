"""The lines an operator reads."""

from __future__ import annotations

import logging

from celeriac.core.effects import Effects
from celeriac.core.message import Message
from celeriac.core.outcome import (
    Crashed,
    Failed,
    Ignored,
    Outcome,
    Rejected,
    RetryAsked,
    Revoked,
    Succeeded,
    TimedOut,
    Unrunnable,
)


def describe_end(
    logger: logging.Logger, message: Message, outcome: Outcome, effects: Effects, runtime_s: float
) -> None:
    """Log how one task ended, with the level that fits."""
    if isinstance(outcome, Succeeded):
        # By far the most frequent line: nothing is formatted unless somebody reads it.
        if logger.isEnabledFor(logging.INFO):
            logger.info("task %s[%s] succeeded in %.6f s", message.task, message.id, runtime_s)
        return
    what = f"task {message.task}[{message.id}]"
    match outcome:
        case RetryAsked() if effects.again is not None:
            logger.info("%s will be retried (%d): %r", what, effects.again.retries, outcome.exc)
        case Failed() | RetryAsked():
            logger.error("%s failed: %r\n%s", what, outcome.exc, outcome.traceback)
        case Ignored():
            logger.info("%s ended, ignored", what)
        case Rejected():
            logger.warning("%s %s", what, outcome.reason)
        case TimedOut():
            logger.error("%s was over its hard time limit of %g s and was killed", what, outcome.limit_s)
        case Crashed():
            logger.critical("%s was parked: %s", what, outcome.reason)
        case Revoked():
            logger.info("%s did not run: %s", what, outcome.reason)
        case Unrunnable():
            logger.error("%s was parked: %s", what, outcome.reason)
