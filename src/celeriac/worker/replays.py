"""Copies of signed messages that were completed before: put back by whoever recorded them, or given out twice by the broker."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from celeriac.client.app import Celeriac
from celeriac.client.signing import CLOCKS_APART_S
from celeriac.coordination.location import CAPABLE
from celeriac.coordination.seen import open_seen_store
from celeriac.core.message import Delivery, Message
from celeriac.core.urls import scheme
from celeriac.exceptions import OperationalError
from celeriac.wire import message_signature

logger = logging.getLogger("celeriac.worker")

T = TypeVar("T")

ASK_S: Final = 2.0
"""How long claimed messages wait for an answer."""
AWAY_S: Final = 5.0
"""So long after a failure the store is not asked again: tasks go on meanwhile."""
UNSAID_MAX: Final = 100_000
"""So many completed messages are kept for a store that is away; older ones are left out."""


class ReplayGuard:
    """Duties: 1. take copies of completed messages out of what was claimed; 2. remember, shortly after each end, what was completed.

    A message is known by its signature and its queue: retries, crash repeats and whatever was not completed are no copies.  While the
    store is away, nothing is taken for a copy: no task waits for it.
    """

    def __init__(self, app: Celeriac) -> None:
        settings = app.settings
        url = settings.coordination_url or app.locations.broker
        self.is_shared = scheme(url) in CAPABLE
        """False where only this worker knows what it has completed itself."""
        self._kept_s = settings.security_replay_window_s + CLOCKS_APART_S
        self._store = open_seen_store(url, settings)
        self._thread = ThreadPoolExecutor(1, "celeriac-replays")
        self._unsaid: dict[str, None] = {}
        self._to_do = asyncio.Event()
        self._away_until = 0.0
        self._said = False
        self.dropped = 0
        """How many copies were taken out."""

    async def sift(self, deliveries: Sequence[Delivery], drop: Callable[[Any], None]) -> Sequence[Delivery]:
        """Return the deliveries without copies of completed messages; `drop` is given the tags of those."""
        marks = [_mark_of(delivery.message) for delivery in deliveries]
        asked = {mark for mark in marks if mark is not None}
        if not asked:
            return deliveries
        known = await self._call(lambda: self._store.seen(asked, ASK_S)) or set()
        known |= asked & self._unsaid.keys()
        if not known:
            return deliveries
        rest = []
        for delivery, mark in zip(deliveries, marks, strict=True):
            if mark not in known:
                rest.append(delivery)
                continue
            assert delivery.message is not None
            self.dropped += 1
            logger.warning(
                "task %s[%s] is dropped: this very message was completed already", delivery.message.headers.get("task"), delivery.message.headers.get("id"),
            )  # fmt: skip
            drop(delivery.tag)
        return rest

    def completed(self, message: Message) -> None:
        """Take note of a message whose end is settled."""
        mark = _mark_of(message)
        if mark is None:
            return
        self._unsaid[mark] = None
        if len(self._unsaid) > UNSAID_MAX:
            del self._unsaid[next(iter(self._unsaid))]
        self._to_do.set()

    async def run(self) -> None:
        """Have the store remember what was completed, until cancelled."""
        while True:
            await self._to_do.wait()
            self._to_do.clear()
            await self.flush()
            if self._unsaid:
                await asyncio.sleep(AWAY_S)
                self._to_do.set()

    async def flush(self) -> None:
        """Have the store remember what it does not know yet."""
        marks = list(self._unsaid)

        def remember() -> list[str]:
            self._store.remember(marks, self._kept_s, ASK_S)
            return marks

        if marks and await self._call(remember) is not None:
            for mark in marks:
                self._unsaid.pop(mark, None)

    async def close(self) -> None:
        """Tell the store the rest and leave it. Idempotent."""
        self._away_until = 0.0
        await self.flush()
        self._thread.shutdown(wait=False)
        self._store.close()

    async def _call(self, work: Callable[[], T]) -> T | None:
        """Return what the store says; None while it is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OperationalError as error:
            self._away_until = time.monotonic() + AWAY_S
            if not self._said:
                self._said = True
                logger.warning(
                    "copies of completed messages can't be recognised now, tasks run all the same: %s", error
                )
            return None
        self._said = False
        return answer


def guard_of(app: Celeriac) -> ReplayGuard | None:
    """Return the guard of an app's worker; None where signatures or the window are switched off."""
    settings = app.settings
    return ReplayGuard(app) if app.content.may_require_signatures and settings.security_replay_window_s else None


def _mark_of(message: Message | None) -> str | None:
    signature = None if message is None else message_signature.read(message.headers)
    if message is None or signature is None:
        return None
    # One message may have come to several queues; each copy runs once.
    named = f"{signature.nonce} {message.queue}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(named).hexdigest()[:32]
