"""Revocations, from wherever a worker hears of them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from celeriac.client.revoking import keep_revocations
from celeriac.core.message import Revocation
from celeriac.core.urls import mask
from celeriac.exceptions import CeleriacError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.worker.control_filter import ControlFilter
    from celeriac.worker.entry import Entry
    from celeriac.worker.overseer import Overseer

logger = logging.getLogger("celeriac.worker")

Source = Literal["store", "request"]

KEEP_WITHIN_S: Final = 3.0
"""At a random moment within so many seconds a worker keeps what it was asked to revoke, unless another one has by then."""
SAME_WISH_S: Final = 10.0
"""What is heard by request and found in the broker within this time is the same wish."""
KEEP_TRIES: Final = 5
LOOK_TIMEOUT_S: Final = 2.0
FOREIGN_MAX: Final = 10_000
"""Most ids that are remembered as told by others."""
KNOWN_MAX: Final = 10_000
"""Most ids that are told to whoever asks which tasks are revoked, the youngest."""


class Revoker:
    """Duties: 1. have revocations carried out, whether they are found in the broker, asked for by remote control or told by another
    worker; 2. keep those asked for in the broker, once for all workers if that can be; 3. tell other workers of them.
    """

    def __init__(
        self,
        app: Celeriac,
        overseer: Overseer,
        heeds: ControlFilter,
        look: Callable[[], Awaitable[Sequence[Revocation]]],
    ) -> None:
        """`look` returns what the broker keeps and has not told yet."""
        self._app = app
        self._overseer = overseer
        self._heeds = heeds
        self._look = look
        self._heard: dict[tuple[str, bool, str], tuple[Source, float]] = {}
        self._unkept: dict[str, Revocation] = {}
        """Asked for by remote control, and not seen in the broker yet."""
        self._foreign: dict[str, float] = {}
        """What was asked for by remote control or told by others: id -> until when it holds, Unix seconds."""
        self._keeping: set[asyncio.Task[None]] = set()

    # -- hearing ------------------------------------------------------------------------------------------------------

    def found(self, revocations: Sequence[Revocation]) -> None:
        """Carry out what the broker keeps."""
        for revocation in revocations:
            self._unkept.pop(revocation.id, None)
        heeded = self._heeds.revocations(revocations)
        if heeded:
            self._overseer.revoke(self._new_wishes(heeded, "store"))

    def asked(self, ids: Iterable[str], terminate: bool, signal: str, *, keep: bool) -> list[Entry]:
        """Carry out what remote control asks for, and return those of the tasks that run here; with `keep` keep it for all workers."""
        expires_at = self._app.time_source.time() + self._app.settings.task_revoke_expires_s
        revocations = [Revocation(one, expires_at, terminate, signal) for one in ids]
        self._note_foreign(revocations)
        running = self._overseer.revoke(self._new_wishes(revocations, "request"))
        if keep and revocations:
            self._unkept |= {revocation.id: revocation for revocation in revocations}
            task = asyncio.get_running_loop().create_task(self._keep(revocations), name="celeriac-revoked")
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)
        return running

    def told(self, ids: Iterable[str]) -> None:
        """Take in what another worker says is revoked; it may be the only one that knows.

        Where revocations have to be signed, what is only said counts for nothing: what counts is in the broker.
        """
        if self._app.content.requires_signatures:
            return
        expires_at = self._app.time_source.time() + self._app.settings.task_revoke_expires_s
        known = set(self._foreign)
        news = self._heeds.revocations(
            [Revocation(one, expires_at) for one in islice(ids, FOREIGN_MAX) if one not in known]
        )
        if news:
            self._note_foreign(news)
            self._overseer.revoke(news)

    def ids(self) -> list[str]:
        """Return the ids of the revoked tasks that this worker knows, oldest first, at most `KNOWN_MAX`."""
        return self._overseer.revoked_ids()[-KNOWN_MAX:]

    def foreign_ids(self) -> list[str]:
        """Return what no broker may keep: asked for by remote control or told by other workers."""
        now = self._app.time_source.time()
        return [one for one, expires_at in self._foreign.items() if expires_at > now]

    def _note_foreign(self, revocations: Iterable[Revocation]) -> None:
        for revocation in revocations:
            self._foreign.pop(revocation.id, None)
            self._foreign[revocation.id] = revocation.expires_at
        while len(self._foreign) > FOREIGN_MAX:
            del self._foreign[next(iter(self._foreign))]

    def _new_wishes(self, revocations: Sequence[Revocation], source: Source) -> list[Revocation]:
        """Leave out what the other source has said just now: SIGUSR1 would be felt twice."""
        now = time.monotonic()
        self._heard = {wish: said for wish, said in self._heard.items() if now - said[1] < SAME_WISH_S}
        fresh = []
        for revocation in revocations:
            wish = (revocation.id, revocation.terminate, revocation.signal)
            if self._heard.get(wish, (source, now))[0] == source:
                fresh.append(revocation)
                self._heard[wish] = (source, now)
        return fresh

    # -- keeping ------------------------------------------------------------------------------------------------------

    async def _keep(self, revocations: Sequence[Revocation]) -> None:
        """Keep in the broker what no other worker has kept by then, so that workers find it that start later."""
        for _ in range(KEEP_TRIES):
            await asyncio.sleep(random.uniform(0.0, KEEP_WITHIN_S))
            await self._find_what_is_kept()
            unkept = [one for one in revocations if self._unkept.get(one.id) is one]
            if not unkept:
                return
            try:
                await asyncio.to_thread(keep_revocations, self._app, unkept)
            except CeleriacError as error:
                logger.warning("a revocation is not kept in the broker yet: %s", mask(str(error)))
                continue
            for one in unkept:
                if self._unkept.get(one.id) is one:
                    del self._unkept[one.id]
            return
        while len(self._unkept) > FOREIGN_MAX:  # which the broker does not take; some are tried again at the end
            del self._unkept[next(iter(self._unkept))]

    async def _find_what_is_kept(self) -> None:
        """Look whether others have kept it: a worker that does not sign must not put its own in place of one that is signed."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                self.found(await self._look())
        except (CeleriacError, TimeoutError) as error:
            logger.debug("what the broker keeps can't be looked at: %s", error)

    async def close(self) -> None:
        """Keep now what is not kept yet, and end."""
        for task in list(self._keeping):
            task.cancel()
        if self._unkept:
            await self._find_what_is_kept()
        if self._unkept:
            try:
                await asyncio.to_thread(keep_revocations, self._app, list(self._unkept.values()))
            except CeleriacError as error:
                logger.warning("what was revoked by remote control is forgotten: %s", mask(str(error)))
