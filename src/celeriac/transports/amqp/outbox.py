"""What was published on a confirming channel, and what became of it. No I/O: both drivers feed it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Struct

from celeriac.transports.amqp.protocol.connection import Connection
from celeriac.transports.amqp.protocol.events import Confirmed, Returned


class Publish(Struct):
    """A message ready for the wire."""

    exchange: str
    routing_key: str
    properties: bytes
    body: bytes
    queue: str
    """The queue that must be there."""
    mandatory: bool = True
    delayed: bool = False
    """It waits in the delay levels first."""


class Batch:
    """Messages that were sent together: done when each is confirmed, refused or returned."""

    __slots__ = ("failure", "on_done", "pending", "refused", "returned", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.pending = size
        self.returned: list[Publish] = []
        """No queue was there for these."""
        self.refused: list[Publish] = []
        """The broker would not take these (a full queue, a lost quorum)."""
        self.failure: Exception | None = None
        """Why the rest will never be answered."""
        self.on_done: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self.pending == 0 or self.failure is not None

    def _settle_one(self) -> None:
        self.pending -= 1
        if self.pending == 0 and self.on_done is not None:
            self.on_done()

    def fail(self, failure: Exception) -> None:
        """Say that no further confirms will come."""
        if not self.done:
            self.failure = failure
            if self.on_done is not None:
                self.on_done()


class Outbox:
    """The messages on the way on one channel in confirm mode, which counts from 1."""

    def __init__(self, connection: Connection, channel: int) -> None:
        self._connection = connection
        self.channel = channel
        self._waiting: deque[tuple[int, Publish, Batch]] = deque()
        self._returned: set[int] = set()
        self._next = 1

    def send(self, publishes: Sequence[Publish]) -> Batch:
        """Hand the messages to the connection; the driver writes them out."""
        batch = Batch(len(publishes))
        for publish in publishes:
            self._connection.publish(
                self.channel,
                publish.exchange,
                publish.routing_key,
                publish.properties,
                publish.body,
                mandatory=publish.mandatory,
            )
            self._waiting.append((self._next, publish, batch))
            self._next += 1
        return batch

    def on_returned(self, event: Returned) -> None:
        """A message found no queue; its confirm follows, and tells nothing."""
        # The broker does not number what it returns. Two messages that agree in all of this are alike for us too.
        for number, publish, batch in self._waiting:
            if (
                publish.routing_key == event.routing_key
                and publish.body == event.body
                and publish.properties == event.properties
                and publish.exchange == event.exchange
                and number not in self._returned
            ):
                self._returned.add(number)
                batch.returned.append(publish)
                return

    def on_confirmed(self, event: Confirmed) -> None:
        """The broker answered for one message, or for all up to it."""
        waiting = self._waiting
        if event.multiple or (waiting and waiting[0][0] == event.number):
            while waiting and waiting[0][0] <= event.number:
                self._answer(waiting.popleft(), taken=event.taken)
            return
        for index, entry in enumerate(waiting):
            if entry[0] == event.number:
                del waiting[index]
                self._answer(entry, taken=event.taken)
                return

    def _answer(self, entry: tuple[int, Publish, Batch], *, taken: bool) -> None:
        number, publish, batch = entry
        if number in self._returned:
            self._returned.discard(number)
        elif not taken:
            batch.refused.append(publish)
        batch._settle_one()

    def fail(self, failure: Exception) -> None:
        """The channel is gone: nothing more will be answered."""
        entries, self._waiting = list(self._waiting), deque()
        for _, _, batch in entries:
            batch.fail(failure)
