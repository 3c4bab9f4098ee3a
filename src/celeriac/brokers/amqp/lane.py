"""One consuming channel with what RabbitMQ has handed out on it. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from msgspec import Struct

from celeriac.brokers.amqp.acks import ack_frames
from celeriac.brokers.amqp.feed import Feed
from celeriac.transports.amqp.protocol import frames
from celeriac.transports.amqp.protocol.events import Delivered

Frames = Callable[[int, Collection[int], Iterable[int]], list[bytes]]
"""`ack_frames` or `nack_frames`."""


class Held(Struct):
    """A message that RabbitMQ has handed us and that is not settled, claimed or not."""

    event: Delivered
    feed: Feed
    since: float
    """Seconds of the loop's clock, when it came."""


class Lane:
    """A channel's account of what is held.

    RabbitMQ (up to 4.2) closes a channel whose oldest message is not acknowledged within its `consumer_timeout`, and returns all that
    it had handed out there.  It looks at messages without any acknowledgement only, once a minute.  So a *secured* lane is a
    transaction in which everything held is acknowledged and nothing committed: out of that timeout's reach for any time, and
    RabbitMQ's again at once when the channel or the connection goes.  To settle some of it, all is rolled back, these are settled
    and committed, and the rest is acknowledged again, in one write (ADR 12).
    """

    def __init__(self, channel: int, generation: int) -> None:
        self.channel = channel
        self.generation = generation
        self.held: dict[int, Held] = {}
        """By delivery tag, ascending."""
        self.secured = False

    @property
    def oldest_since(self) -> float | None:
        """When the oldest of what is held came; None when nothing is."""
        return next(iter(self.held.values())).since if self.held else None

    def securing(self) -> list[bytes]:
        """Return the frames that secure it, for a channel that is a transaction from now on and on which nothing more comes."""
        self.secured = True
        return self._acknowledging()

    def settling(self, made: Frames, numbers: Sequence[int]) -> list[bytes]:
        """Return the frames that settle these deliveries, which are not held from here on."""
        numbers = [number for number in numbers if number in self.held]
        settled = made(self.channel, numbers, self.held)
        for number in numbers:
            held = self.held.pop(number)
            held.feed.on_settled(held.event.consumer)
        if not (self.secured and numbers):
            return settled
        rollback, commit = frames.tx_rollback_frame(self.channel), frames.tx_commit_frame(self.channel)
        return [rollback, *settled, commit, *self._acknowledging()]

    def _acknowledging(self) -> list[bytes]:
        return ack_frames(self.channel, list(self.held), self.held)
