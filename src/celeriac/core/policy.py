"""What a task's options say about its end."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

LOSSES_BEYOND: Final = 1
"""How much later than at `loss_limit` a broker parks a message by itself: at the limit a worker is to have everyone told of its end."""


class Policy(Struct, frozen=True):
    """The options of one task that `decide` reads, after defaults have been applied."""

    max_retries: int | None = 3
    """None: without a limit, asked for in so many words."""
    default_retry_delay_s: float = 180.0
    retry_backoff_s: float = 1.0
    """First step of the exponential back-off of automatic retries; 0 switches it off."""
    retry_backoff_max_s: float = 600.0
    retry_jitter: bool = True
    ignore_result: bool = False
    store_errors_even_if_ignored: bool = False
    acks_late: bool = True
    acks_on_failure: bool = True
    acks_on_timeout: bool = True
    reject_on_worker_lost: bool = True
    retry_on_worker_lost: bool = False
    soft_time_limit_s: float | None = None
    time_limit_s: float | None = None
    crash_limit: int = 3
    """At this many crashes the message is parked."""
    loss_limit: int = 20
    """At this many losses with a whole worker the message is parked."""

    def with_limits(self, *, hard_s: float | None, soft_s: float | None) -> Policy:
        """Return the policy with the time limits (seconds) that one call asks for; None keeps the task's own.

        A soft limit that would not come before the hard one is dropped: the task would never see it.
        """
        hard = self.time_limit_s if hard_s is None else hard_s
        soft = self.soft_time_limit_s if soft_s is None else soft_s
        if soft is not None and hard is not None and soft >= hard:
            soft = None
        return replace(self, time_limit_s=hard, soft_time_limit_s=soft)
