"""Settling: what executors report becomes effect in broker and backend, in batches and in a fixed order."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from typing import Any, Final

from msgspec import Struct

from celeriac.core.effects import ACK, REQUEUE, Dead, Record, Requeue, Settlement, Verdict
from celeriac.core.message import Message
from celeriac.core.ports import Consumer, ResultWriter
from celeriac.core.urls import mask
from celeriac.exceptions import BackendError
from celeriac.worker.entry import Entry
from celeriac.worker.link import FIRST_PAUSE_S, LONGEST_PAUSE_S, Link

logger = logging.getLogger("celeriac.worker")

BATCH_MAX: Final = 500
BUFFER_MAX: Final = 10_000
"""With this many settlements waiting (the broker or the backend is away) nothing more is claimed."""
KEPT_MAX: Final = 10_000
"""How many finished runs are remembered whose message went back to the broker before it could be settled."""


class _Pending(Struct):
    settlement: Settlement
    key: tuple[str, int] | None
    newer_tags: list[Any] = []
    """Tags under which the message came again before this could be settled."""

    @property
    def ends_its_run(self) -> bool:
        """False when the message is to come again: given back, or sent anew after a crash."""
        again = (message for message in self.settlement.publish if (message.id, _retries(message)) == self.key)
        return not isinstance(self.settlement.verdict, Requeue) and next(again, None) is None


def _retries(message: Message) -> int:
    return message.headers.get("retries") or 0


class Settler:
    """Duties: 1. collect settlements; 2. store their records, where the broker does not do it itself; 3. have the consumer
    publish follow-ups and settle, in one go; 4. remember finished runs whose message was lost to us, to settle it without
    another run when it comes again.

    Records are stored before the rest: a crash in between repeats the task, and nobody waits for a result that was acknowledged
    away.
    """

    def __init__(self, consumer: Consumer, writer: ResultWriter, link: Link) -> None:
        self._consumer = consumer
        self._writer = writer
        self._link = link
        self._pending: list[_Pending] = []
        self._progress: list[Record] = []
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._unsettled: dict[tuple[str, int], _Pending] = {}
        """Finished runs that are still to be settled."""
        self._kept: OrderedDict[tuple[str, int], Settlement] = OrderedDict()
        self.room = asyncio.Event()
        self.room.set()
        """Clear while too much waits to be settled."""

    # -- giving -------------------------------------------------------------------------------------------------------

    def settle(
        self,
        entry: Entry,
        verdict: Verdict,
        publish: list[Message] | None = None,
        records: list[Record] | None = None,
    ) -> None:
        """Settle a message with everything that follows from its end."""
        for tag in entry.older_tags:
            self._add(Settlement(tag, ACK), None)
        self._add(Settlement(entry.delivery.tag, verdict, publish or [], records or []), entry.key)

    def settle_tag(self, tag: Any, verdict: Verdict, publish: list[Message] | None = None) -> None:
        """Settle a message that never became an entry."""
        self._add(Settlement(tag, verdict, publish or []), None)

    def park(self, tag: Any, reason: str) -> None:
        """Send a message to the dead letters."""
        logger.error("a message was parked: %s", reason)
        self.settle_tag(tag, Dead(reason))

    def store(self, record: Record) -> None:
        """Store a state of a running task."""
        self._progress.append(record)
        self._work.set()
        self._idle.clear()

    def settle_again(self, key: tuple[str, int], tag: Any) -> bool:
        """Settle a message that came again although its run is finished here; False when it isn't."""
        unsettled = self._unsettled.get(key)
        if unsettled is not None:
            unsettled.newer_tags = [*unsettled.newer_tags, tag]
            return True
        kept = self._kept.pop(key, None)
        if kept is None:
            return False
        kept.tag = tag
        self._add(kept, key)
        return True

    def _add(self, settlement: Settlement, key: tuple[str, int] | None) -> None:
        pending = _Pending(settlement, key)
        self._pending.append(pending)
        if key is not None and pending.ends_its_run:
            self._unsettled[key] = pending
        self._work.set()
        self._idle.clear()
        if len(self._pending) >= BUFFER_MAX:
            self.room.clear()

    def drop_all(self) -> None:
        """Forget everything that waits: the lease is lost, and nothing of it may have an effect any more."""
        self._pending.clear()
        self._unsettled.clear()
        self._kept.clear()

    # -- doing --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._pending or self._progress:
                progress, self._progress = self._progress, []
                batch, self._pending = self._pending[:BATCH_MAX], self._pending[BATCH_MAX:]
                if progress:
                    await self._store(progress)
                await self._apply(batch)
                self.room.set()
            self._idle.set()

    async def flush(self) -> None:
        """Wait until everything given so far has been settled."""
        await self._idle.wait()

    async def _apply(self, batch: list[_Pending]) -> None:
        if not batch:
            return
        settlements = [pending.settlement for pending in batch]
        if not self._consumer.stores_records:
            records = [record for settlement in settlements for record in settlement.records]
            if records:
                await self._store(records)
        lost = await self._link.call(lambda: self._consumer.settle(settlements))
        if lost:
            logger.warning("%d messages were no longer ours when they were settled", len(lost))
        self._conclude(batch, {item.tag for item in lost})

    def _conclude(self, batch: list[_Pending], lost: set[Any]) -> None:
        """Forget what is settled; settle what was lost under its newer tag, or remember it for when it comes again."""
        for pending in batch:
            key, settlement = pending.key, pending.settlement
            if key is None:
                continue
            if self._unsettled.get(key) is pending:
                del self._unsettled[key]
            newer = pending.newer_tags
            if settlement.tag not in lost:
                for tag in newer:  # another message of the same name: let it have its own run
                    self._add(Settlement(tag, REQUEUE), None)
            elif newer:
                for tag in newer[:-1]:
                    self._add(Settlement(tag, ACK), None)
                settlement.tag = newer[-1]
                self._add(settlement, key)
            elif pending.ends_its_run:
                self._kept[key] = settlement
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    async def _store(self, records: list[Record]) -> None:
        """Store records, however long the backend stays away: the lease keeps the messages ours meanwhile."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._writer.store(records)
            except BackendError as error:
                if pause_s == FIRST_PAUSE_S:
                    logger.warning("results can't be stored, will go on trying: %s", mask(str(error)))
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)
            else:
                if pause_s != FIRST_PAUSE_S:
                    logger.warning("results can be stored again")
                return
