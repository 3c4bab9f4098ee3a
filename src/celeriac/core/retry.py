"""When a task is tried again."""

from __future__ import annotations

from typing import Final

from celeriac.core.policy import Policy

CRASH_BACKOFF_S: Final = (0.0, 5.0, 30.0)
"""Pause before the next try after the first, second, third... crash of an executor."""


def backoff_s(retries: int, first_s: float, limit_s: float, chance: float | None) -> float:
    """Return the pause before retry number `retries` (0 for the first), exponential with full jitter.

    `chance` in [0, 1) picks the point between 0 and the full step; None takes the full step.  At least a millisecond is
    kept, so that a retry is never immediate.  Source: "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """
    # 2**retries overflows a float beyond 1023 retries, and the limit is reached long before that.
    step = min(limit_s, first_s * 2.0 ** min(retries, 62))
    return step if chance is None else max(0.001, step * chance)


def retry_delay_s(policy: Policy, retries: int, *, automatic: bool, chance: float) -> float:
    """Return the pause before the next try of a task that named none itself."""
    if automatic and policy.retry_backoff_s > 0:
        return backoff_s(
            retries, policy.retry_backoff_s, policy.retry_backoff_max_s, chance if policy.retry_jitter else None
        )
    return policy.default_retry_delay_s


def crash_delay_s(crashes: int) -> float:
    """Return the pause after a task's executor has died for the `crashes`-th time (1 for the first)."""
    return CRASH_BACKOFF_S[min(crashes, len(CRASH_BACKOFF_S)) - 1]


def may_retry(max_retries: int | None, retries: int) -> bool:
    """Tell whether a task that has been retried `retries` times may be retried once more."""
    return max_retries is None or retries < max_retries
