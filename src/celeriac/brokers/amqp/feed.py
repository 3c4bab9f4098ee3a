"""One queue's way into a worker: consumers with prefetch windows on the broker's side, a buffer on ours. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from celeriac.transports.amqp.protocol.events import Delivered

MAX_WINDOWS: Final = 32
_SPARE: Final = 32


class Window(Struct):
    """A consumer, and how much of its prefetch is used up."""

    size: int
    unsettled: int = 0


class Feed:
    """What RabbitMQ may send us of one queue, and what it has sent.

    The prefetch of a consumer is fixed when it starts.  So a larger demand adds a consumer for the difference, and only a
    demand that has become much smaller, or messages given back, cancel and start anew.  That way RabbitMQ never hands out more
    than was asked for, and the common case asks for nothing.
    """

    def __init__(self, queue: str, most: int | None = None, arguments: Mapping[str, Any] | None = None) -> None:
        self.queue = queue
        self.most = most
        """How many messages of it may be held at once; None: as many as are wanted."""
        self.arguments = arguments
        """Of its consumers."""
        self.windows: dict[str, Window] = {}
        """By consumer tag, those that are not cancelled."""
        self.buffer: deque[tuple[Delivered, float]] = deque()
        """What came and was not claimed yet, with the time when it came."""
        self.must_exist = True
        """The queue is to be looked at before the next consumer starts."""
        self.away_until = 0.0
        """The queue is on a node that is down: it is left alone until then."""
        self.last_news = 0.0
        """When a message came or a consumer was started."""
        self.suspect = False
        """Nothing had come for long although something was there, when the watchdog looked last."""

    def room(self) -> int:
        """Return how many messages RabbitMQ may still send."""
        return sum(window.size - window.unsettled for window in self.windows.values())

    def missing(self, limit: int) -> int:
        """Return for how many messages a consumer must be added so that `limit` can come (or be here)."""
        return max(0, limit - self.room() - len(self.buffer))

    def is_too_wide(self, limit: int) -> bool:
        """Whether so much more than `limit` may come that it is worth to start anew."""
        return self.room() > 4 * limit + _SPARE

    def is_crowded(self) -> bool:
        """Whether so many small consumers have come together that one should take their place."""
        return len(self.windows) >= MAX_WINDOWS

    def on_delivered(self, event: Delivered, now: float) -> None:
        """Take in a message."""
        window = self.windows.get(event.consumer)
        if window is not None:
            window.unsettled += 1
        self.buffer.append((event, now))
        self.last_news = now
        self.suspect = False

    def on_settled(self, consumer: str) -> None:
        """A message of this consumer was acknowledged or given back."""
        window = self.windows.get(consumer)
        if window is not None:
            window.unsettled -= 1

    def forget(self, channel: int) -> None:
        """A channel is gone, and what had come on it."""
        self.buffer = deque(item for item in self.buffer if item[0].channel != channel)

    def reset(self) -> None:
        """The channel on which messages come is gone, and its consumers."""
        self.windows.clear()
        self.must_exist = True
