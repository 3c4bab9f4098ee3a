"""Settling: what executors report becomes effect in broker and backend, in batches and in a fixed order."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict
from typing import Any, Final

from msgspec import Struct

from celeriac.core.effects import ACK, REQUEUE, Ack, Dead, Record, Settlement, Verdict
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
KEPT_MAX: Final = 1_000
"""How many finished runs are remembered whose message went back to the broker before it could be settled."""
KEPT_S: Final = 300.0
"""How long: a broker hands it out again soon or never."""
REFUSALS_MAX: Final = 3
"""A batch that the broker refuses so often is settled message by message, and what it still refuses is parked."""


class _Pending(Struct):
    settlement: Settlement
    key: tuple[str, int] | None
    newer_tags: list[Any] = []
    """Tags under which the message came again before this could be settled."""

    @property
    def ends_its_run(self) -> bool:
        """False when the message may rightly come again: given back, parked, or sent anew after a crash."""
        if not isinstance(self.settlement.verdict, Ack):
            return False
        return all((message.id, _retries(message)) != self.key for message in self.settlement.publish)


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
        self._kept: OrderedDict[tuple[str, int], tuple[float, Settlement]] = OrderedDict()
        """Finished runs whose message was lost to us, since when (monotonic seconds)."""
        self._epoch = 0
        """Counts the leases that were lost: what belongs to an older one has no effect any more."""
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
        since, kept = self._kept.pop(key, (0.0, None))
        if kept is None or time.monotonic() - since > KEPT_S:
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
        self._epoch += 1
        self._pending.clear()
        self._progress.clear()
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
        epoch = self._epoch
        settlements = [pending.settlement for pending in batch]
        if not self._consumer.stores_records:
            held = (settlement for settlement in settlements if self._consumer.holds(settlement.tag))
            records = [record for settlement in held for record in settlement.records]
            if records:
                await self._store(records)
            if epoch != self._epoch:
                return
        try:
            lost = await self._link.call(lambda: self._consumer.settle(settlements), REFUSALS_MAX)
        except Exception as error:  # one message that cannot be settled must hold up no other
            await self._settle_one_by_one(batch, error)
            return
        if lost:
            logger.warning("%d messages were no longer ours when they were settled", len(lost))
        self._conclude(batch, {item.tag for item in lost})

    async def _settle_one_by_one(self, batch: list[_Pending], error: Exception) -> None:
        if len(batch) > 1:
            for pending in batch:
                await self._apply([pending])
            return
        (pending,) = batch
        if isinstance(pending.settlement.verdict, Dead) and not pending.settlement.publish:
            raise error  # not even parking works: nothing that could be done here
        reason = f"it cannot be settled: {type(error).__name__}: {error}"
        logger.error("a message is parked, %s", mask(reason))
        await self._apply([_Pending(Settlement(pending.settlement.tag, Dead(reason)), None)])

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
                self._kept[key] = time.monotonic(), settlement
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    async def _store(self, records: list[Record]) -> None:
        """Store records, however long the backend stays away: the lease keeps the messages ours meanwhile."""
        pause_s = FIRST_PAUSE_S
        epoch = self._epoch
        while epoch == self._epoch:
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
