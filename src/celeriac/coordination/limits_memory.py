"""Limits kept in memory, for workers in this very process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from celeriac.coordination.limits_book import Book, Owners
from celeriac.core.limits import Answer, Hold, Line, Question, Renewal, Terms
from celeriac.core.message import Delayed
from celeriac.core.rates import Pace

KEEP_S: Final = 3600.0
TIDY_AT: Final = 1000
"""With so many keys those that are over are forgotten; afterwards, when there are twice as many as were left."""


class _Shelf:
    def __init__(self) -> None:
        self._owners = Owners()
        self.lines: dict[str, Line] = {}
        self.paces: dict[str, Pace] = {}

    def owners(self) -> Owners:
        return self._owners

    def line(self, key: str) -> Line:
        return self.lines.setdefault(key, Line())

    def pace(self, key: str) -> Pace:
        return self.paces.setdefault(key, Pace())


class MemoryLimits:
    """A `LimitStore` that all workers of one app in one process share. Thread-safe; never blocks for long."""

    def __init__(
        self,
        lease_s: float,
        clock: Callable[[], float] = time.time,
        lease_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lease_s`: how long the lease of a worker lasts, by `lease_clock`; `clock` returns Unix seconds, for all else."""
        self._lease_s = lease_s
        self._clock = clock
        self._lease_clock = lease_clock
        self._lock = threading.Lock()
        self._shelf = _Shelf()
        self._rates: dict[str, str] = {}
        self._tidy_at = TIDY_AT

    def _book(self) -> Book:
        return Book(self._shelf, self._lease_s, self._clock(), self._lease_clock())

    async def ask(
        self, owner: str, questions: Sequence[Question], terms: Terms, asked_at: float
    ) -> tuple[list[Answer], list[Delayed]]:
        """See `LimitStore.ask`."""
        with self._lock:
            if self._size() > self._tidy_at:
                self._tidy()
                self._tidy_at = max(TIDY_AT, 2 * self._size())
            return self._book().ask(owner, questions, terms, asked_at)

    async def free(self, owner: str, holds: Sequence[Hold]) -> list[Delayed]:
        """See `LimitStore.free`."""
        with self._lock:
            return self._book().free(owner, holds)

    async def quit(self, places: Sequence[Hold]) -> list[Delayed]:
        """See `LimitStore.quit`."""
        with self._lock:
            return self._book().quit(places)

    async def parked(self, places: Sequence[Hold]) -> list[Delayed]:
        """See `LimitStore.parked`."""
        with self._lock:
            return self._book().parked(places)

    async def renew(self, owner: str, holds: Sequence[Hold], watched: Mapping[str, int]) -> Renewal:
        """See `LimitStore.renew`."""
        with self._lock:
            woken = self._book().renew(owner, holds, watched, KEEP_S)
            self._tidy()
            return Renewal(woken, dict(self._rates))

    async def rates(self) -> dict[str, str]:
        """See `LimitStore.rates`."""
        with self._lock:
            return dict(self._rates)

    async def leave(self, owner: str) -> None:
        """See `LimitStore.leave`."""
        with self._lock:
            self._book().leave(owner)

    async def close(self) -> None:
        """There is nothing to close."""

    def set_rate(self, task: str, rate: str | None) -> None:
        """See `RateBoard.set_rate`."""
        with self._lock:
            if rate is None:
                self._rates.pop(task, None)
            else:
                self._rates[task] = rate

    def _size(self) -> int:
        return len(self._shelf.lines) + len(self._shelf.paces)

    def _tidy(self) -> None:
        now, shelf = self._clock(), self._shelf
        shelf.lines = {key: line for key, line in shelf.lines.items() if line.holders or line.waiting}
        shelf.paces = {key: pace for key, pace in shelf.paces.items() if not pace.is_forgotten(now)}


class MemoryRateBoard:
    """A `RateBoard` for the workers of this process. Thread-safe; never blocks for long."""

    def __init__(self, limits: MemoryLimits) -> None:
        self.limits = limits

    def set_rate(self, task: str, rate: str | None) -> None:
        """See `RateBoard.set_rate`."""
        self.limits.set_rate(task, rate)

    def close(self) -> None:
        """There is nothing to close."""
