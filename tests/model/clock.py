"""A clock that a test sets, in the place of the module `time`."""

from __future__ import annotations


class SetClock:
    """Stands in for `time` in whole seconds, which go on only when they are set."""

    def __init__(self) -> None:
        self.now = 0

    def time(self) -> float:
        """Stand in for `time.time`."""
        return self.now

    def monotonic(self) -> float:
        """Stand in for `time.monotonic`."""
        return self.now

    def set(self, now: int) -> None:
        """Make it so late."""
        self.now = now
