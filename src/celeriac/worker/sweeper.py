"""Finding workflows that are stuck, and naming them in the log."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from celeriac.client.app import Celeriac
from celeriac.core.ports import ResultWriter
from celeriac.core.stuck import is_stuck, what_is_missing
from celeriac.core.urls import mask
from celeriac.core.workflow import ChordState
from celeriac.exceptions import OperationalError

logger = logging.getLogger("celeriac.worker")

LOOKED_AT: Final = 250
"""Chords that one look is about: those without progress for longest."""
JITTER: Final = 0.25
"""Part of the pause by which it varies, so that the workers of a cluster do not all ask at once."""


class Sweeper:
    """Duties: 1. ask the result backend now and then which chords have seen no progress for longest; 2. name each that is stuck
    in the log, once for as long as it stays so.

    It changes nothing: what became of the members that never ended only people can know.  Every worker asks, because a question
    costs the backend little and who asks for all would have to be agreed on.
    """

    def __init__(self, app: Celeriac, writer: ResultWriter) -> None:
        settings = app.settings
        self._asks = app.backend.counts_chords
        self._clock = app.time_source
        self._writer = writer
        self._every_s = settings.result_chord_sweep_every_s
        self._stuck_after_s = settings.result_chord_stuck_after_s
        self._named: dict[str, float] = {}
        """Those that are stuck by group id, with the Unix time of their last progress."""
        self._overflow_told = False

    async def run(self) -> None:
        """Sweep until cancelled; where the backend counts no chords, just wait for that."""
        if not self._asks:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(random.uniform(0, self._every_s))
        while True:
            try:
                await self.sweep()
            except OperationalError as error:
                logger.debug("can't look for stuck workflows now: %s", mask(str(error)))
            except Exception:  # a defect, but no reason for a worker to stop working
                logger.exception("looking for stuck workflows failed unexpectedly")
            await asyncio.sleep(self._every_s * random.uniform(1 - JITTER, 1 + JITTER))

    async def sweep(self) -> None:
        """Look once, and name what has become stuck since the last look. Raises what the backend raises."""
        now = self._clock.time()
        found = await self._writer.chords(LOOKED_AT)
        stuck = [state for state in found if is_stuck(state, now, self._stuck_after_s)]
        for state in stuck:
            if self._named.get(state.group_id) != state.updated_at:
                _name(state, now)
        self._named = {state.group_id: state.updated_at for state in stuck}
        overflows = len(stuck) == LOOKED_AT
        if overflows and not self._overflow_told:
            logger.warning("%d workflows or more are stuck; see: celeriac workflows --stuck", LOOKED_AT)
        self._overflow_told = overflows


def _name(state: ChordState, now: float) -> None:
    logger.warning(
        "workflow %s is stuck: %s, no progress for %.0f s; see: celeriac workflows",
        state.group_id,
        what_is_missing(state),
        now - state.updated_at,
    )
