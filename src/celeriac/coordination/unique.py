"""The store in which unique tasks hold their keys: what it is to everyone above, and which one a URL names."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from celeriac.core.settings import Settings
from celeriac.core.unique import Answer, Step
from celeriac.core.urls import mask, scheme
from celeriac.exceptions import ImproperlyConfigured


class UniqueStore(Protocol):
    """Keeps who holds which key. Thread-safe, fork-safe, blocking."""

    def apply(self, steps: Sequence[Step], timeout_s: float) -> list[Answer]:
        """Make the steps, each as one atomic operation and in their order, and return the answers.

        Raises `CoordinationUnavailable` when that was not possible within `timeout_s` seconds; some of the steps may have been
        made then.  Each may be made again: a step that has been made already changes nothing more.
        """

    def close(self) -> None:
        """Close the connections; idempotent, and a later call connects again."""


def open_unique_store(url: str, settings: Settings, clock: Callable[[], float] = time.time) -> UniqueStore:
    """Return the store behind a URL; nothing is connected yet. `clock` gives Unix seconds to one in memory.

    Raises `ImproperlyConfigured` for a URL that can't be it.
    """
    match scheme(url):
        case "redis" | "rediss" | "unix" | "redis+socket" | "sentinel" | "rediscluster":
            from celeriac.coordination.unique_redis import RedisUniqueStore

            return RedisUniqueStore(url, settings)
        case "sqlite":
            from celeriac.coordination.unique_sqlite import SqliteUniqueStore

            return SqliteUniqueStore(url)
        case "memory":
            from celeriac.coordination.unique_memory import MemoryUniqueStore

            return MemoryUniqueStore(clock)
    raise ImproperlyConfigured(f"{mask(url)} can't keep the keys of unique tasks: name a Redis or a SQLite file")
