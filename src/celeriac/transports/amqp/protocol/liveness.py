"""When to say that we are alive, and when to believe that the broker is not."""

from __future__ import annotations


class Liveness:
    """AMQP's heartbeat: something is sent at least every half interval, and silence of two intervals is death.

    Times are seconds of any steady clock; an interval of 0 switches all of it off.
    """

    def __init__(self, interval_s: float, now: float) -> None:
        self.interval_s = interval_s
        self.last_sent = now
        self.last_received = now

    @property
    def tick_s(self) -> float:
        """How often to look."""
        return self.interval_s / 4 if self.interval_s else 1.0

    def must_send(self, now: float) -> bool:
        """Whether a heartbeat is due."""
        return bool(self.interval_s) and now - self.last_sent >= self.interval_s / 2 - 0.001

    def is_dead(self, now: float) -> bool:
        """Whether the broker has been silent for too long."""
        return bool(self.interval_s) and now - self.last_received > self.interval_s * 2
