"""What is kept in memory for a time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import inf
from typing import Generic, TypeVar

V = TypeVar("V")


class Expiring(Generic[V]):
    """Values by key, each with the Unix time from which on it is gone; infinite: never. Not thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[V, float]] = {}
        self._looks: list[tuple[float, str]] = []
        """When to look at which key, as a heap."""
        self._next_look: dict[str, float] = {}
        """Key -> the look that counts, so that a key that is put again and again has no more than one."""

    def get(self, key: str) -> V | None:
        """Return the value, None if there is none."""
        kept = self._kept.get(key)
        return None if kept is None else kept[0]

    def put(self, key: str, value: V, expires_at: float) -> None:
        """Keep a value, in the place of an older one."""
        self._kept[key] = value, expires_at
        self._plan(key, expires_at)

    def pop(self, key: str) -> None:
        """Forget a key, if it is known."""
        self._kept.pop(key, None)

    def items(self) -> Iterator[tuple[str, V]]:
        """Return all that is kept."""
        return ((key, value) for key, (value, _) in self._kept.items())

    def expire(self, now: float) -> None:
        """Forget what is over."""
        while self._looks and self._looks[0][0] <= now:
            planned_at, key = heapq.heappop(self._looks)
            if self._next_look.get(key) != planned_at:
                continue  # an earlier one took its place
            del self._next_look[key]
            _, expires_at = self._kept.get(key, (None, inf))
            if expires_at <= now:
                del self._kept[key]
            else:  # it was put anew since
                self._plan(key, expires_at)

    def _plan(self, key: str, expires_at: float) -> None:
        if expires_at < self._next_look.get(key, inf):
            self._next_look[key] = expires_at
            heapq.heappush(self._looks, (expires_at, key))
