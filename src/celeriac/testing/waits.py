"""Threads that wait for a test's clock: who, until when, and how to get one of them out."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final

from celeriac.testing.stillness import Stillness

LOOK_AT_EVENT_S: Final = 0.01
"""How often a waiting thread looks whether an exception was raised in it, or its event was set."""


class Wait:
    """One thread that waits."""

    __slots__ = ("deadline", "event", "gate", "parked", "thread")

    def __init__(self, deadline: float, event: threading.Event | None) -> None:
        self.thread = threading.get_ident()
        self.deadline = deadline
        """Monotonic seconds of the clock; infinite: only the event ends it."""
        self.event = event
        self.parked = False
        """It stands at its gate, and nobody has opened that."""
        self.gate = threading.Lock()

    def is_over(self, now: float) -> bool:
        """Tell whether its time has come or its event was set."""
        return self.deadline <= now or (self.event is not None and self.event.is_set())


class Waits:
    """All threads that wait for one clock. Thread-safe."""

    def __init__(self, stillness: Stillness, monotonic: Callable[[], float]) -> None:
        self._stillness = stillness
        self._monotonic = monotonic
        self._waits: set[Wait] = set()

    def park(self, deadline: float, event: threading.Event | None = None) -> None:
        """Wait in this thread until the clock has come to `deadline` or the event was set.

        Only plain locks are used, held for plain statements: an exception may be raised in this thread at any point.
        """
        wait = Wait(deadline, event)
        try:
            while True:
                with self._stillness.lock:
                    if wait.is_over(self._monotonic()):
                        return
                    if not wait.parked:
                        wait.gate = threading.Lock()
                        wait.gate.acquire()
                        wait.parked = True
                    self._waits.add(wait)
                    self._stillness.note()
                wait.gate.acquire(timeout=-1 if event is None else LOOK_AT_EVENT_S)
        finally:
            with self._stillness.lock:
                self._waits.discard(wait)

    def clock_moved(self) -> None:
        """Let those go whose time has come."""
        with self._stillness.lock:
            now = self._monotonic()
            for wait in self._waits:
                if wait.deadline <= now:
                    self._open(wait)

    def rouse(self, thread: int) -> None:
        """Have a thread look up from its waits, because an exception was raised in it."""
        with self._stillness.lock:
            for wait in self._waits:
                if wait.thread == thread:
                    self._open(wait)

    @staticmethod
    def _open(wait: Wait) -> None:
        if wait.parked:
            wait.parked = False
            wait.gate.release()

    def parked(self, threads: set[int]) -> int:
        """Count how many of these threads can only be moved by the clock or the test; with the lock held."""
        now = self._monotonic()
        return len(
            {wait.thread for wait in self._waits if wait.thread in threads and wait.parked and not wait.is_over(now)}
        )

    def next_at(self) -> float:
        """Return when (monotonic) the next wait is over, infinite when none ends by time."""
        with self._stillness.lock:
            return min((wait.deadline for wait in self._waits), default=math.inf)
