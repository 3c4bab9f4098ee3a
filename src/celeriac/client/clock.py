"""Where an app takes the time from: the system, or in a test a clock that the test moves."""

from __future__ import annotations

import time as system
from typing import Final, Protocol


class TimeSource(Protocol):
    """What everything asks that a task can notice: ETA, expiry, retries, time limits, back-off. Thread-safe.

    Not asked by what keeps a worker alive (leases, heartbeats, reconnects): that goes by the real time in any case.
    """

    def time(self) -> float:
        """Return Unix seconds."""

    def monotonic(self) -> float:
        """Return seconds that never go back, from a beginning of its own."""


class SystemTime:
    """The system's own clocks. Looked up at each call, so that libraries which freeze the time in tests are heard."""

    def time(self) -> float:
        """Return Unix seconds."""
        return system.time()

    def monotonic(self) -> float:
        """Return seconds since some moment in the past."""
        return system.monotonic()


SYSTEM_TIME: Final = SystemTime()
