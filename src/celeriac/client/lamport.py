"""The logical clock by which events and requests of many processes are put in order (Lamport's)."""

from __future__ import annotations

import threading
from typing import Final

MOST: Final = 2**62
"""No clock gets here by counting; AMQP carries no more than 64 bits, and one sender must not silence all who hear of it."""


class LamportClock:
    """Counts what this process sends, and never falls behind what it has received. Thread-safe."""

    def __init__(self, value: int = 0) -> None:
        self._value = value
        self._lock = threading.Lock()

    @property
    def value(self) -> int:
        """What it shows."""
        return self._value

    def forward(self) -> int:
        """Count one more, for something that is sent, and return that."""
        with self._lock:
            self._value += 1
            return self._value

    def adjust(self, other: int) -> int:
        """Catch up with the clock of something that was received, and return what it shows then; one that can't be is not heeded."""
        with self._lock:
            self._value = max(self._value, other if other < MOST else 0) + 1
            return self._value
