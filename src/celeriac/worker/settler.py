"""Settling: what executors report becomes effect in broker and backend, in batches and in a fixed order."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from msgspec import Struct

from celeriac.core.effects import ACK, REQUEUE, Ack, Dead, Follows, Lost, Record, Requeue, Settlement, Verdict
from celeriac.core.message import Delivery, Message
from celeriac.core.outcome import Joined
from celeriac.core.ports import Consumer, Published, ResultWriter
from celeriac.core.urls import mask
from celeriac.core.workflow import ChordOpening, Completed
from celeriac.exceptions import Unroutable
from celeriac.worker.backlog import Backlog, held_bytes
from celeriac.worker.entry import Entry, run_key
from celeriac.worker.link import Link
from celeriac.worker.result_store import ResultStore
from celeriac.worker.unique import UniqueKeeper

logger = logging.getLogger("celeriac.worker")

BATCH_MAX: Final = 500
KEPT_MAX: Final = 1_000
"""How many finished runs are remembered whose message went back to the broker before it could be settled."""
KEPT_S: Final = 300.0
"""How long: a broker hands it out again soon or never."""
ON_ITS_WAY_S: Final = 60.0
"""An acknowledgement that was sent so long before its connection was lost has arrived: a silent connection is not suffered for so long."""
NOTICED_S: Final = 1.0
"""It may be noted as sent so long after the loss of its connection was."""
REFUSALS_MAX: Final = 3
"""A batch that the broker refuses so often is settled message by message, and what it still refuses is parked."""


class _Pending(Struct):
    settlement: Settlement
    key: tuple[str, int] | None
    ends_its_run: bool = False
    """False when the message may rightly come again: given back, parked, or sent anew after a crash."""
    entry: Entry | None = None
    """None for what never became one, and for other tags of the same message."""
    openings: list[ChordOpening] = []
    newer_tags: list[Any] = []
    """Tags under which the message came again before this could be settled."""
    held: Any = None
    """What the keeper of unique keys has noted of it."""
    then: Callable[[], None] | None = None
    """Called when this has been settled, or its message was lost to us."""
    size_bytes: int = 0
    """Of what it holds; noted when it is given."""

    def renew(self, tags: Sequence[Any]) -> None:
        """Let this be settled under the last of the tags that the message has got since."""
        self.settlement.tag = tags[-1]
        self.newer_tags = []
        if self.entry is not None:
            self.entry.delivery.tag = tags[-1]


class Settler:
    """Duties: 1. collect settlements; 2. store their records and join their chords, where the broker does not do it itself;
    3. have the consumer publish follow-ups and settle, in one go; 4. have a chord concluded by the task that made it complete, before
    that task is settled; 5. remember finished runs whose message was lost to us, to settle it without another run when it comes again.

    Records are stored before the rest: a crash in between repeats the task, and nobody waits for a result that was acknowledged
    away.
    """

    def __init__(
        self,
        consumer: Consumer,
        writer: ResultWriter,
        link: Link,
        unique: UniqueKeeper,
        completed: Callable[[Entry, Joined], None],
        buffer_max: int,
        buffer_max_bytes: int,
    ) -> None:
        """`completed` is given a task with whose end a chord is complete; it is to come back by `settle` with what follows from that.

        `buffer_max`, `buffer_max_bytes`: with so many settlements waiting, or so many bytes, nothing more is to be claimed.
        """
        self._unique = unique
        self._backlog = Backlog(buffer_max, buffer_max_bytes)
        self.room = self._backlog.room
        """Clear while too much waits to be settled."""
        self._consumer = consumer
        self._store = ResultStore(writer)
        self._link = link
        self._completed = completed
        self.note_completed: Callable[[Message], None] | None = None
        """Told each message that is done with for good, where somebody wants to know."""
        self._pending: list[_Pending] = []
        self._progress: list[Record] = []
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._follow_ups: list[tuple[Entry, Follows, int]] = []
        """What follows from tasks whose messages were acknowledged before they ran, and the bytes that it holds."""
        self._following: list[tuple[Entry, Follows, int]] = []
        """Those of them that are being carried out."""
        self._applying: list[_Pending] = []
        self._unsettled: dict[tuple[str, int], _Pending] = {}
        """Finished runs that are still to be settled."""
        self._kept: OrderedDict[tuple[str, int], tuple[float, _Pending]] = OrderedDict()
        """Finished runs whose message was lost to us, since when (monotonic seconds)."""
        self._acknowledged: deque[tuple[float, set[tuple[str, int]]]] = deque()
        """The last runs that were settled, batch by batch, and when (monotonic seconds)."""
        self._acknowledged_count = 0
        self._connection_lost_at = -math.inf
        self._epoch = 0
        """Counts the leases that were lost: what belongs to an older one has no effect any more."""

    # -- giving -------------------------------------------------------------------------------------------------------

    def settle(self, entry: Entry, verdict: Verdict, follows: Follows | None = None) -> None:
        """Settle a message with everything that follows from its end."""
        if follows is None:
            follows = Follows()
        if entry.held_up is not None and isinstance(entry.ending, Joined):
            # What it came back with follows from the chord that it completed.
            verdict, follows = entry.held_up.verdict, _with(entry.held_up, follows, entry.ending.group_id)
            entry.held_up = entry.ending = None
        if entry.acknowledged:
            if isinstance(verdict, Ack):
                self._tell_completed(entry, follows.publish)
            if isinstance(verdict, Requeue):  # there is nothing left to be given back
                follows.publish = [*follows.publish, entry.message]
            size_bytes = held_bytes(None, follows.publish, follows.records, follows.parts)
            self._follow_ups.append((entry, follows, size_bytes))
            self._backlog.add(size_bytes)
            self._unique.ended_early(entry.key, follows.publish)
            self._wake()
            if entry.on_settled is not None:
                entry.on_settled()
                entry.on_settled = None
            return
        for tag in entry.older_tags:
            self._add(_Pending(Settlement(tag, ACK), None))
        publish, key = follows.publish, entry.key
        settlement = Settlement(entry.delivery.tag, verdict, publish, follows.records, follows.parts, follows.closes)
        ends_its_run = isinstance(verdict, Ack) and not (publish and _is_sent_anew(key, publish))
        self._add(_Pending(settlement, key, ends_its_run, entry, follows.openings, then=entry.on_settled))

    def acknowledge_early(self, entry: Entry) -> None:
        """Acknowledge a message as its task begins; what follows from its end is published and stored later."""
        if not entry.acknowledged:
            self._unique.begun_early(entry.key)
            on_settled, entry.on_settled = entry.on_settled, None  # that is for the end of the run
            self.settle(entry, ACK)
            entry.on_settled = on_settled
            entry.acknowledged = True

    def settle_tag(self, tag: Any, verdict: Verdict, publish: list[Message] | None = None) -> None:
        """Settle a message that never became an entry."""
        self._add(_Pending(Settlement(tag, verdict, publish or []), None))

    def park(self, tag: Any, reason: str) -> None:
        """Send a message to the dead letters."""
        logger.error("a message was parked: %s", reason)
        self.settle_tag(tag, Dead(reason))

    def store(self, record: Record) -> None:
        """Store a state of a running task."""
        self._progress.append(record)
        self._wake()

    def settle_again(self, key: tuple[str, int], delivery: Delivery) -> bool:
        """Settle a message that came again although its run is finished here; False when it isn't."""
        tag = delivery.tag
        unsettled = self._unsettled.get(key)
        if unsettled is not None:
            unsettled.newer_tags = [*unsettled.newer_tags, tag]
            return True
        if not delivery.redelivered:
            return False  # a message that was never ours: somebody uses the id once more
        since, kept = self._kept.pop(key, (0.0, None))
        if kept is None or time.monotonic() - since > KEPT_S:
            return self._acknowledge_again(key, tag)
        kept.renew([tag])
        self._add(kept)
        return True

    def _acknowledge_again(self, key: tuple[str, int], tag: Any) -> bool:
        """Acknowledge a message whose acknowledgement may have been lost with a connection; False when it can't have been."""
        sent_at = next((at for at, keys in reversed(self._acknowledged) if key in keys), math.inf)
        if not -NOTICED_S <= self._connection_lost_at - sent_at <= ON_ITS_WAY_S:
            return False
        self.settle_tag(tag, ACK)
        return True

    def connection_lost(self) -> None:
        """Note that what was acknowledged last may come again: RabbitMQ does not answer acknowledgements."""
        self._connection_lost_at = time.monotonic()

    @property
    def may_complete_chords(self) -> bool:
        """Something waits to be settled that may yet make a chord complete."""
        waiting = (*self._pending, *self._applying)
        return bool(self._follow_ups or self._following) or any(pending.settlement.parts for pending in waiting)

    def _add(self, pending: _Pending) -> None:
        self._pending.append(pending)
        if pending.key is not None and pending.ends_its_run:
            self._unsettled[pending.key] = pending
        if len(self._pending) == 1:
            self._wake()
        settlement, entry = pending.settlement, pending.entry
        message = None if entry is None else entry.delivery.message
        pending.size_bytes = held_bytes(message, settlement.publish, settlement.records, settlement.parts)
        self._backlog.add(pending.size_bytes)

    def _wake(self) -> None:
        self._work.set()
        self._idle.clear()

    def drop_all(self) -> set[tuple[str, int]]:
        """Forget everything that waits: the lease is lost, and nothing of it may have an effect any more.

        Returns the runs that were to be acknowledged and are not.
        """
        self._epoch += 1
        unsettled = set(self._unsettled)
        self._backlog.remove([pending.size_bytes for pending in self._pending])
        self._pending.clear()
        self._progress.clear()
        self._unsettled.clear()
        self._kept.clear()
        self._acknowledged.clear()
        self._acknowledged_count = 0
        return unsettled

    # -- doing --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._pending or self._progress or self._follow_ups:
                progress, self._progress = self._progress, []
                self._following, self._follow_ups = self._follow_ups, []
                self._applying, self._pending = self._pending[:BATCH_MAX], self._pending[BATCH_MAX:]
                if progress:
                    await self._store.store(progress, self._while_in_force())
                sizes = [pending.size_bytes for pending in self._applying]
                await self._apply(self._applying)
                self._applying = []
                for entry, follows, size_bytes in self._following:
                    sizes.append(size_bytes)
                    await self._apply_follow_ups(entry, follows)
                self._following = []
                self._backlog.remove(sizes)
            self._idle.set()

    async def flush(self) -> None:
        """Wait until everything given so far has been settled."""
        await self._idle.wait()

    def _while_in_force(self) -> Callable[[], bool]:
        """Return what tells whether the lease of this moment is still ours."""
        epoch = self._epoch
        return lambda: epoch == self._epoch

    async def _apply(self, batch: list[_Pending]) -> None:
        if not batch:
            return
        in_force = self._while_in_force()
        if self._unique.held:
            await self._unique.shorten(batch)
        openings = [opening for pending in batch for opening in pending.openings]
        if openings:
            await self._store.open_chords(openings, in_force)
        if not self._consumer.stores_records:
            batch = await self._store_apart(batch, in_force)
            if not (batch and in_force()):
                return
        try:
            settlements = [pending.settlement for pending in batch]
            closing = self._closing(settlements, in_force)
            answers = await self._link.call(lambda: self._consumer.settle(settlements, closing), REFUSALS_MAX)
        except Exception as error:  # one message that cannot be settled must hold up no other
            await self._settle_one_by_one(batch, error)
            return
        completed = {answer.tag: answer.group_id for answer in answers if isinstance(answer, Completed)}
        held_up = [pending for pending in batch if pending.settlement.tag in completed]
        if held_up:
            batch = [pending for pending in batch if pending.settlement.tag not in completed]
        lost = {answer.tag for answer in answers if isinstance(answer, Lost)}
        await self._settled(batch, lost, in_force)
        for pending in held_up:
            await self._hold_up(pending, completed[pending.settlement.tag], in_force)

    def _closing(self, settlements: Sequence[Settlement], in_force: Callable[[], bool]) -> Published | None:
        """Return what closes the chords that end with these settlements before they are acknowledged, or None if none does.

        Whoever dies after the acknowledgement does not come again to close them.
        """
        closing = {settlement.tag: settlement for settlement in settlements if settlement.closes}
        if self._consumer.stores_records or not closing:
            return None

        async def close(tags: Collection[Any]) -> None:
            ended = [closing[tag] for tag in tags if tag in closing]
            if ended:
                await self._store.close_chords([one for settlement in ended for one in settlement.closes], in_force)
            for settlement in ended:  # should it come again, for want of a connection, that is done
                settlement.publish, settlement.closes = [], []

        return close

    async def _store_apart(self, batch: list[_Pending], in_force: Callable[[], bool]) -> list[_Pending]:
        """Store records and join chords where the broker does not; return what can be settled now."""
        held = [pending for pending in batch if self._consumer.holds(pending.settlement.tag)]
        records = [record for pending in held for record in pending.settlement.records]
        if records:
            await self._store.store(records, in_force)
        joining = [(pending, part) for pending in held for part in pending.settlement.parts]
        if not joining:
            return batch
        answers = await self._store.join([part for _, part in joining], in_force) or []
        held_up: list[_Pending] = []
        for (pending, part), finishes in zip(joining, answers, strict=False):
            if finishes and part.group_id not in pending.settlement.closes and pending not in held_up:
                held_up.append(pending)
                await self._hold_up(pending, part.group_id, in_force)
        return [pending for pending in batch if pending not in held_up]

    async def _hold_up(self, pending: _Pending, group_id: str, in_force: Callable[[], bool]) -> None:
        """Have a chord concluded that is complete, before the task is settled that made it so."""
        part = next(part for part in pending.settlement.parts if part.group_id == group_id)
        joined = await self._store.collect(part, in_force)
        entry = pending.entry
        if joined is None or entry is None:
            return
        if pending.key is not None and self._unsettled.get(pending.key) is pending:
            del self._unsettled[pending.key]
        entry.older_tags = []
        if pending.newer_tags:
            *older, newest = [pending.settlement.tag, *pending.newer_tags]
            entry.older_tags, entry.delivery.tag = older, newest
        entry.held_up = pending.settlement
        self._completed(entry, joined)

    async def _settled(self, batch: list[_Pending], lost: set[Any], in_force: Callable[[], bool]) -> None:
        if lost:
            logger.warning("%d messages were no longer ours when they were settled", len(lost))
        if not self._consumer.stores_records:
            settled = (pending.settlement for pending in batch if pending.settlement.tag not in lost)
            closes = [group_id for settlement in settled for group_id in settlement.closes]
            if closes:
                await self._store.close_chords(closes, in_force)
        if self._unique.held:
            self._unique.settled(batch, lost)
        self._conclude(batch, lost)
        for pending in batch:
            if self.note_completed is not None and pending.entry is not None and not pending.entry.acknowledged:
                done = isinstance(pending.settlement.verdict, Ack) and pending.settlement.tag not in lost
                if done:
                    self._tell_completed(pending.entry, pending.settlement.publish)
            if pending.then is not None:
                pending.then()

    def _tell_completed(self, entry: Entry, published: Sequence[Message]) -> None:
        # A message that was sent anew as it is, is not done with.
        if self.note_completed is not None and not _is_sent_anew(entry.key, published):
            self.note_completed(entry.message)

    async def _apply_follow_ups(self, entry: Entry, follows: Follows) -> None:
        """Store and publish what follows from a message that the broker has forgotten already, whatever becomes of the lease."""
        store = self._store
        if follows.openings:
            await store.open_chords(follows.openings, _always)
        if follows.records:
            await store.store(follows.records, _always)
        if follows.parts:
            finishing = await store.join(follows.parts, _always) or []
            for part, finishes in zip(follows.parts, finishing, strict=True):
                if finishes and part.group_id not in follows.closes:
                    joined = await store.collect(part, _always)
                    assert joined is not None
                    entry.held_up = Settlement(None, ACK, follows.publish, [], follows.parts, follows.closes)
                    self._completed(entry, joined)
                    return
        for message in follows.publish:
            self._kept.pop(run_key(message), None)  # a message sent anew under the key of its run is no repeat of it
        if follows.publish:
            await self._publish(follows.publish)
        if follows.closes:
            await store.close_chords(follows.closes, _always)

    async def _publish(self, messages: list[Message]) -> None:
        """Send messages; there is nothing that could be parked for one that can't be sent."""

        async def publish() -> None:
            try:
                await self._consumer.publish(messages)
            except Unroutable as error:  # all others have been sent
                logger.error("what follows from a task that was acknowledged early is lost: %s", error)

        try:
            await self._link.call(publish, REFUSALS_MAX)
        except Exception as error:  # one message that cannot be sent must hold up no other
            if len(messages) > 1:
                for message in messages:
                    await self._publish([message])
                return
            what = f"task {messages[0].task}[{messages[0].id}]"
            logger.error("%s, which follows from one that was acknowledged early, is lost: %s", what, mask(str(error)))

    async def _settle_one_by_one(self, batch: list[_Pending], error: Exception) -> None:
        if len(batch) > 1:
            for pending in batch:
                await self._apply([pending])
            return
        (pending,) = batch
        refused = pending.settlement
        if not (refused.publish or refused.records or refused.parts) and isinstance(refused.verdict, Dead):
            raise error  # not even parking works: nothing that could be done here
        reason = f"it cannot be settled: {type(error).__name__}: {error}"
        logger.error("a message is parked, %s", mask(reason))
        parked = Settlement(refused.tag, Dead(reason))
        if refused.publish:  # those who wait for it are told of its end all the same
            parked.records, parked.parts, parked.closes = refused.records, refused.parts, refused.closes
        await self._apply([_Pending(parked, None, entry=pending.entry, then=pending.then)])
        self._unique.settled_otherwise(pending.key)

    def _conclude(self, batch: list[_Pending], lost: set[Any]) -> None:
        """Forget what is settled; settle what was lost under its newer tag, or remember it for when it comes again."""
        now = time.monotonic()
        acknowledged: set[tuple[str, int]] = set()
        for pending in batch:
            key = pending.key
            if key is None:
                continue
            if self._unsettled.get(key) is pending:
                del self._unsettled[key]
            if lost and pending.settlement.tag in lost:
                self._settle_newer_or_keep(key, pending, now)
                continue
            for tag in pending.newer_tags:  # another message of the same name: let it have its own run
                self._add(_Pending(Settlement(tag, REQUEUE), None))
            if pending.ends_its_run:
                acknowledged.add(key)
        if acknowledged:
            self._remember(now, acknowledged)

    def _settle_newer_or_keep(self, key: tuple[str, int], pending: _Pending, now: float) -> None:
        newer = pending.newer_tags
        if newer:
            for tag in newer[:-1]:
                self._add(_Pending(Settlement(tag, ACK), None))
            pending.renew(newer)
            self._add(pending)
        elif pending.ends_its_run:
            self._kept[key] = now, pending
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)

    def _remember(self, now: float, acknowledged: set[tuple[str, int]]) -> None:
        """Remember a batch of acknowledged runs, and as many before it as make up `KEPT_MAX`."""
        self._acknowledged.append((now, acknowledged))
        self._acknowledged_count += len(acknowledged)
        while self._acknowledged_count - len(self._acknowledged[0][1]) >= KEPT_MAX:
            self._acknowledged_count -= len(self._acknowledged.popleft()[1])


def _is_sent_anew(key: tuple[str, int], publish: Sequence[Message]) -> bool:
    """Tell whether what follows from a run is that run once more, as after a crash."""
    return any(run_key(message) == key for message in publish)


def _with(held_up: Settlement, follows: Follows, group_id: str) -> Follows:
    """Return what a task's own end leads to, together with what the chord leads to that it completed.

    Its part in that is counted.  A chord that could not be concluded stays open, for the sweeper to name it: it would not help to
    try that for ever.
    """
    parts = [part for part in (*held_up.parts, *follows.parts) if part.group_id != group_id]
    return Follows(
        [*held_up.publish, *follows.publish],
        [*held_up.records, *follows.records],
        follows.openings,
        parts,
        [*held_up.closes, *follows.closes],
    )


def _always() -> bool:
    return True
