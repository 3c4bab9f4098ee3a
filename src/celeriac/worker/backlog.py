"""What waits to be settled: how much it is, and whether there is room for more to be claimed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from celeriac.core.effects import Record
from celeriac.core.message import Message
from celeriac.core.workflow import Part

logger = logging.getLogger("celeriac.worker")


def held_bytes(
    message: Message | None, publish: Sequence[Message], records: Sequence[Record], parts: Sequence[Part]
) -> int:
    """Return the bytes that a finished task holds until it is settled: its own body, and what follows from it.

    Headers are left out: they are small, and limited.
    """
    held = 0 if message is None else len(message.body)
    for record in records:
        held += len(record.payload)
    for following in publish:
        held += len(following.body)
    for part in parts:
        held += len(part.payload) + len(part.body)
    return held


class Backlog:
    """Counts what waits, and says when that is too much.

    count_max: with so many finished tasks nothing more is to be claimed; max_bytes: nor with so many bytes.
    """

    def __init__(self, count_max: int, max_bytes: int) -> None:
        self._count_max = count_max
        self._max_bytes = max_bytes
        self._count = 0
        self._bytes = 0
        self.room = asyncio.Event()
        """Clear while too much waits."""
        self.room.set()

    def add(self, size_bytes: int) -> None:
        """Note one more that waits."""
        self._count += 1
        self._bytes += size_bytes
        if (self._count >= self._count_max or self._bytes >= self._max_bytes) and self.room.is_set():
            self.room.clear()
            logger.warning(
                "no more is claimed: %d finished tasks of %d bytes wait to be settled (worker_settle_buffer_max,"
                " worker_settle_buffer_max_bytes)",
                self._count,
                self._bytes,
            )

    def remove(self, sizes_bytes: Sequence[int]) -> None:
        """Note that these wait no more."""
        self._count -= len(sizes_bytes)
        self._bytes -= sum(sizes_bytes)
        if self._count < self._count_max and self._bytes < self._max_bytes and not self.room.is_set():
            self.room.set()
            logger.warning("what waited to be settled is settled: more is claimed")
