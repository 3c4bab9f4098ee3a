"""Where workers remember which signed messages they have completed: the seam, the one in memory, and which one a URL opens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

from celeriac.core.settings import Settings
from celeriac.core.urls import scheme

MEMORY_MAX: Final = 100_000
"""So many marks are kept in memory; the oldest are forgotten first."""


class SeenStore(Protocol):
    """Keeps marks for a time. Thread-safe, blocking; raises `OperationalError` when it is away."""

    def seen(self, marks: Collection[str], timeout_s: float) -> set[str]:
        """Return those marks that are kept."""

    def remember(self, marks: Collection[str], kept_s: float, timeout_s: float) -> None:
        """Keep marks for so many seconds. Idempotent."""

    def close(self) -> None:
        """Close the connections; idempotent."""


class MemorySeenStore:
    """Keeps marks in this object. Thread-safe; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._busy = threading.Lock()
        self._ends: dict[str, float] = {}

    def seen(self, marks: Collection[str], timeout_s: float) -> set[str]:
        """See `SeenStore.seen`."""
        now = self._clock()
        with self._busy:
            return {mark for mark in marks if self._ends.get(mark, 0.0) > now}

    def remember(self, marks: Collection[str], kept_s: float, timeout_s: float) -> None:
        """See `SeenStore.remember`."""
        until = self._clock() + kept_s
        with self._busy:
            self._ends.update(dict.fromkeys(marks, until))
            for mark in list(self._ends)[: max(0, len(self._ends) - MEMORY_MAX)]:
                del self._ends[mark]

    def close(self) -> None:
        """There is nothing to close."""


def open_seen_store(url: str, settings: Settings) -> SeenStore:
    """Return the store behind a URL; one that can keep nothing gives a store in this process alone."""
    match scheme(url):
        case "redis" | "rediss" | "unix" | "redis+socket" | "sentinel" | "rediscluster":
            from celeriac.coordination.seen_redis import RedisSeenStore

            return RedisSeenStore(url, settings)
        case "sqlite":
            from celeriac.coordination.seen_sqlite import SqliteSeenStore

            return SqliteSeenStore(url)
    return MemorySeenStore()
