"""Where workers agree on limits: the seam, and which store a URL opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from celeriac.coordination.limits_memory import MemoryLimits
from celeriac.core.limits import Answer, Hold, Question, Renewal, Terms
from celeriac.core.message import Delayed
from celeriac.core.settings import Settings
from celeriac.core.urls import mask, scheme
from celeriac.exceptions import ImproperlyConfigured


class LimitStore(Protocol):
    """One worker's side, asynchronous. Batch-oriented; every call raises `OperationalError` when the store is away.

    An owner is a worker with a lease, renewed by `ask` and `renew`; what it holds goes to others once that has run out.  The
    waiters that calls return are to be brought forward in the broker's delay by whoever made the call.
    """

    async def ask(
        self, owner: str, questions: Sequence[Question], terms: Terms, asked_at: float
    ) -> tuple[list[Answer], list[Delayed]]:
        """Answer each question, in order; `asked_at` is the worker's time in Unix seconds. A repeat changes nothing more."""

    async def free(self, owner: str, holds: Sequence[Hold]) -> list[Delayed]:
        """Give permits back, as far as the owner still has them. Idempotent."""

    async def quit(self, places: Sequence[Hold]) -> list[Delayed]:
        """Take those out of their lines who wait no longer. Idempotent."""

    async def parked(self, places: Sequence[Hold]) -> list[Delayed]:
        """Return those of some who wait that were woken already, before they had reached the broker's delay."""

    async def renew(self, owner: str, holds: Sequence[Hold], watched: Mapping[str, int]) -> Renewal:
        """Renew the lease, say again what is held, and look after lines: key -> how many permits. Idempotent."""

    async def rates(self) -> dict[str, str]:
        """Return the rates that were set at run time: task -> rate."""

    async def leave(self, owner: str) -> None:
        """End the lease. Idempotent."""

    async def close(self) -> None:
        """Close the connection; idempotent."""


class RateBoard(Protocol):
    """Where rates are set at run time; used by clients. Blocking, thread-safe."""

    def set_rate(self, task: str, rate: str | None) -> None:
        """Set a task's rate for all workers; None goes back to what the task says. Raises `OperationalError`."""

    def close(self) -> None:
        """Close the connection; idempotent."""


def open_limit_store(url: str, settings: Settings, memory: MemoryLimits) -> LimitStore:
    """Return the store behind `url`; nothing is connected yet. `memory` is the one of this process."""
    match scheme(url):
        case "memory":
            return memory
        case "sqlite":
            from celeriac.coordination.limits_sqlite import SqliteLimits

            return SqliteLimits(url, settings)
    try:
        from celeriac.coordination.limits_redis import RedisLimits
    except ModuleNotFoundError as error:
        raise _missing(url, error) from error
    return RedisLimits(url, settings)


def open_rate_board(url: str, settings: Settings) -> RateBoard:
    """Return the place behind `url` where rates are set (not `memory://`, see `MemoryRateBoard`); nothing is connected yet."""
    if scheme(url) == "sqlite":
        from celeriac.coordination.limits_sqlite import SqliteRateBoard

        return SqliteRateBoard(url, settings)
    try:
        from celeriac.coordination.limits_redis import RedisRateBoard
    except ModuleNotFoundError as error:
        raise _missing(url, error) from error
    return RedisRateBoard(url, settings)


def _missing(url: str, error: ModuleNotFoundError) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{mask(url)} needs the package {error.name!r}: pip install 'celeriac[redis]'")
