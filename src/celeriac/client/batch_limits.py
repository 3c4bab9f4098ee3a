"""How much goes to the broker in one round trip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celeriac.core.message import Message
    from celeriac.core.settings import Settings


class Room:
    """What there is still room for in one batch, by the settings `publish_batch_...`."""

    __slots__ = ("_bytes", "_count", "_most", "_most_bytes")

    def __init__(self, settings: Settings) -> None:
        self._most = settings.publish_batch_max
        self._most_bytes = settings.publish_batch_max_bytes
        self._count = self._bytes = 0

    def take(self, message: Message) -> bool:
        """Count a message, unless it is too much; the first one never is."""
        size = len(message.body)
        if self._count and (self._count >= self._most or self._bytes + size > self._most_bytes):
            return False
        self._count += 1
        self._bytes += size
        return True

    @property
    def is_full(self) -> bool:
        """Whether nothing more goes into it."""
        return self._count >= self._most or self._bytes >= self._most_bytes


def batches_of(messages: Sequence[Message], settings: Settings) -> Iterator[Sequence[Message]]:
    """Cut messages into batches."""
    start, room = 0, Room(settings)
    for place, message in enumerate(messages):
        if not room.take(message):
            yield messages[start:place]
            start, room = place, Room(settings)
            room.take(message)
    yield messages[start:]
