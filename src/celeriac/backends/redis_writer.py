"""The Redis result backend's side for a worker's core."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from celeriac.core.effects import Record
from celeriac.core.workflow import ChordOpening, ChordState, Collected, Part
from celeriac.transports.redis import chords
from celeriac.transports.redis.address import Address
from celeriac.transports.redis.batches import KEYS_AT_ONCE, slices
from celeriac.transports.redis.connection import Connection
from celeriac.transports.redis.durability import Durability
from celeriac.transports.redis.errors import backend_errors
from celeriac.transports.redis.protocol import Word, raise_errors
from celeriac.transports.redis.results import ResultKeys, record_batches

logger = logging.getLogger(__name__)

_TO_BE_SECURED: Final = frozenset({"join", "open_chords", "store"})
"""What happens before a task is acknowledged; later steps may be made again."""


class RedisResultWriter:
    """Stores results and joins chords, over one connection that is made anew when it breaks.

    Every operation raises `BackendUnavailable`.
    """

    def __init__(
        self, address: Address, keys: ResultKeys, connect_timeout_s: float, durability: Durability | None = None
    ) -> None:
        """`durability`: how secure results and parts must be before their tasks are acknowledged, if that comes in time."""
        self._durability = durability
        self._was_secure = True
        self._address = address
        self._keys = keys
        self._chord_keys = [keys.open_chords]
        self._connect_timeout_s = connect_timeout_s
        self._errors = backend_errors(address)
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()

    async def store(self, records: Sequence[Record]) -> None:
        """Store all records and tell who waits; a stored SUCCESS stays. Idempotent."""
        for words in record_batches(self._keys, records):
            await self._run("store", [], words)

    async def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords; see `ResultReader.open_chords`. Idempotent."""
        for words in chords.opening_batches(self._keys, openings):
            await self._run("open_chords", self._chord_keys, words)

    async def join(self, parts: Sequence[Part]) -> list[bool]:
        """Add parts, and tell for each whether its member has to finish the chord; see `ResultWriter.join`."""
        finishes: list[bool] = []
        for words in chords.join_batches(self._keys, parts):
            finishes += map(bool, await self._run("join", self._chord_keys, words))
        return finishes

    async def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""
        kind, structure = await self._ask(["TYPE", self._keys.parts(group_id)], ["GET", self._keys.group(group_id)])
        parts: list[bytes] = []
        while True:
            (page,) = await self._ask(chords.page_of_parts(self._keys, group_id, kind, len(parts)))
            parts += page
            if len(page) < chords.PARTS_AT_ONCE:
                return Collected(parts, structure)

    async def close_chords(self, group_ids: Sequence[str]) -> None:
        """Forget all of chords but that they are closed. Idempotent."""
        for some in slices(group_ids, KEYS_AT_ONCE):
            await self._run("close_chords", self._chord_keys, chords.closing_words(self._keys, some))

    async def chords(self, limit: int) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest."""
        return chords.chord_states(
            await self._run("chords", self._chord_keys, chords.oldest_words(self._keys, limit)), limit
        )

    async def close(self) -> None:
        """Close the connection; idempotent."""
        if self._connection is not None:
            self._connection.close()

    async def _ask(self, *commands: Sequence[Word]) -> list[Any]:
        with self._errors:
            connection = await self._connected()
            replies = await connection.call_many(commands)
            raise_errors(replies)
            return replies

    async def _run(self, script: str, keys: Sequence[str], words: Sequence[Word]) -> Any:
        with self._errors:
            connection = await self._connected()
            reply = await connection.run_surely(connection.scripts.named(script), keys, *words)
            if script in _TO_BE_SECURED:
                self._note(await connection.secure(self._durability))
            return reply

    def _note(self, shortfall: str | None) -> None:
        """Log once when results are no longer secure: without a replica, tasks are to end all the same."""
        if shortfall is not None and self._was_secure:
            logger.warning("Redis at %s took results, but %s; a failover may lose them", self._address.shown, shortfall)
        self._was_secure = shortfall is None

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is not None and self._connection.is_open:
                await self._connection.confirm(self._address)
            if self._connection is None or not self._connection.is_open:
                connection = await Connection.connect(self._address, self._connect_timeout_s)
                try:
                    await connection.check_durability(self._durability)
                except BaseException:
                    connection.close()
                    raise
                self._connection = connection
            return self._connection
