"""The result backend as the settler needs it: what is asked is asked until it is answered."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from celeriac.core.effects import Record
from celeriac.core.outcome import Joined
from celeriac.core.ports import ResultWriter
from celeriac.core.urls import mask
from celeriac.core.workflow import ChordOpening, Part
from celeriac.exceptions import BackendError
from celeriac.worker.link import FIRST_PAUSE_S, LONGEST_PAUSE_S

logger = logging.getLogger("celeriac.worker")

T = TypeVar("T")
Wanted = Callable[[], bool]


class ResultStore:
    """Asks the backend, however long it stays away: the lease keeps the messages ours meanwhile.

    Each call gives up only when what it was given as `wanted` says so, because the lease is lost; then it returns None.
    """

    def __init__(self, writer: ResultWriter) -> None:
        self._writer = writer

    async def store(self, records: Sequence[Record], wanted: Wanted) -> None:
        """Store records."""
        await self._ask(lambda: self._writer.store(records), wanted)

    async def open_chords(self, openings: Sequence[ChordOpening], wanted: Wanted) -> None:
        """Set the sizes of chords."""
        await self._ask(lambda: self._writer.open_chords(openings), wanted)

    async def join(self, parts: Sequence[Part], wanted: Wanted) -> list[bool] | None:
        """Add parts to their chords; see `ResultWriter.join`."""
        return await self._ask(lambda: self._writer.join(parts), wanted)

    async def collect(self, part: Part, wanted: Wanted) -> Joined | None:
        """Return the chord that is complete with this part."""
        collected = await self._ask(lambda: self._writer.collect(part.group_id), wanted)
        if collected is None:
            return None
        return Joined(part.group_id, collected.parts, collected.structure, part.body)

    async def close_chords(self, group_ids: Sequence[str], wanted: Wanted) -> None:
        """Forget the parts of chords that are over."""
        await self._ask(lambda: self._writer.close_chords(group_ids), wanted)

    async def _ask(self, call: Callable[[], Awaitable[T]], wanted: Wanted) -> T | None:
        pause_s = FIRST_PAUSE_S
        while wanted():
            try:
                answer = await call()
            except BackendError as error:
                if pause_s == FIRST_PAUSE_S:
                    logger.warning("results can't be stored, will go on trying: %s", mask(str(error)))
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)
            else:
                if pause_s != FIRST_PAUSE_S:
                    logger.warning("results can be stored again")
                return answer
        return None
