"""The memory broker: for tests and for programs whose worker is embedded in the same process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from celeriac.brokers.declaring import broadcasts, own_limits, own_names, say_what_is_unheeded, unroutable
from celeriac.brokers.embedded.exchanges import Bound, ways_of
from celeriac.brokers.embedded.memory_boards import MemoryBoards
from celeriac.brokers.embedded.memory_messenger import MemoryMessenger, PostOffice
from celeriac.brokers.embedded.memory_store import MemoryStore
from celeriac.core.boards import Move
from celeriac.core.effects import Lost, Settlement
from celeriac.core.message import DeadLetter, Delayed, Delivery, Message, QueueDepth, Revocation
from celeriac.core.policy import LOSSES_BEYOND
from celeriac.core.ports import Conclude, Published
from celeriac.core.priorities import First
from celeriac.core.queues import QueueTable, public_queue
from celeriac.core.revoking import Sought
from celeriac.core.settings import Settings
from celeriac.core.urls import mask
from celeriac.core.workflow import Completed

MAINTAIN_EVERY_S: Final = 1.0


class MemoryProducer:
    """Publishes into the broker. Thread-safe; never blocks."""

    def __init__(self, store: MemoryStore, queues: QueueTable, boards: MemoryBoards) -> None:
        self._store = store
        self._queues = queues
        self._boards = boards

    def publish(self, batch: Sequence[Message], timeout_s: float) -> None:
        """Take all messages; there is nothing to wait for. Raises `Unroutable` for those that no queue is bound for."""
        lost = self._store.publish(batch, self._queues)
        if lost:
            raise unroutable(lost)

    def publish_once(self, board: str, move: Move, batch: Sequence[Message], timeout_s: float) -> bool:
        """Make a move on a board and take the messages, in one step; see `OnceProducer.publish_once`."""
        lost: list[Message] = []
        done = self._boards.move(board, move, lambda: lost.extend(self._store.publish(batch, self._queues)))
        if lost:
            raise unroutable(lost)
        return done

    def close(self) -> None:
        """There is nothing to close."""


class MemoryAdmin:
    """Looks into the broker. Thread-safe; never blocks."""

    def __init__(self, store: MemoryStore, queues: QueueTable) -> None:
        self._store = store
        self._queues = queues

    def declare(self, queues: Collection[str]) -> None:
        """Create the queues that do not exist, with their bindings. Idempotent."""
        self._store.declare(public_queue(queue) for queue in own_names(queues, self._queues, ""))
        self._store.bind(ways_of(queues, self._queues, (), ""))

    def queues(self) -> list[str]:
        """Name all queues, by name."""
        return self._store.queues()

    def depths(self, queues: Collection[str]) -> list[QueueDepth]:
        """Count what waits in each queue."""
        return [self._store.depth(queue) for queue in queues]

    def purge(self, queue: str) -> int:
        """Delete what is ready and delayed in a queue and return how many there were."""
        return self._store.purge(queue)

    def dead_letters(self, queue: str, limit: int) -> list[DeadLetter]:
        """Return the parked messages of a queue, newest first, at most `limit`."""
        return self._store.dead_letters(queue, limit)

    def dead_retry(self, queue: str, ids: Collection[str]) -> int:
        """Put parked messages back to their old place; return how many."""
        return self._store.remove_dead(queue, ids, retry=True)

    def dead_purge(self, queue: str, ids: Collection[str]) -> int:
        """Delete parked messages and return how many there were."""
        return self._store.remove_dead(queue, ids, retry=False)

    def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations where every worker finds them. Idempotent."""
        self._store.revoke(revocations)

    def withdraw_delayed(self, revocations: Sequence[Revocation], conclude: Conclude, timeout_s: float) -> int:
        """Take what is revoked out of its delay; see `Admin.withdraw_delayed`."""
        return self._store.withdraw_delayed(Sought.by(revocations), conclude)

    def close(self) -> None:
        """There is nothing to close."""


class MemoryConsumer:
    """One worker's side. Belongs to one event loop; the producers may be in any thread."""

    stores_records: bool = False
    hastens: bool = True
    ahead_s: float = 0.0

    def __init__(self, store: MemoryStore, settings: Settings, table: QueueTable) -> None:
        self._store = store
        self._table = table
        self._limits: dict[str, int] = {}
        self._own_ways: list[Bound] = []
        """The bindings of our own queues, which go with the lease."""
        self._settings = settings
        self._owner = ""
        self._queues: list[str] = []
        self._revocations_seen = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()

    async def open(self, owner: str, queues: Sequence[str], concurrency: Mapping[str, int] | None = None) -> None:
        """Create missing queues, and take the lease if this owner has not had one yet."""
        names = own_names(queues, self._table, owner)
        ways = ways_of(queues, self._table, broadcasts(queues, self._table, owner), owner)
        self._limits = own_limits(concurrency or {}, self._table)
        self._own_ways = [way for way in ways if way.owner]
        say_what_is_unheeded(queues, self._table, "the memory broker")
        self._store.declare(names)
        self._store.bind(ways)
        if owner != self._owner:
            self._store.take_lease(owner, self._settings.worker_lease_s)
        else:
            self._store.renew_lease(owner, self._settings.worker_lease_s)
        self._owner, self._queues = owner, names
        self._loop = asyncio.get_running_loop()
        self._store.subscribe(self._wake)

    async def consume(self, queues: Sequence[str]) -> None:
        """Claim from these queues from now on; see `Consumer.consume`."""
        ways = ways_of(queues, self._table, broadcasts(queues, self._table, self._owner), self._owner)
        say_what_is_unheeded(queues, self._table, "the memory broker")
        self._queues = own_names(queues, self._table, self._owner)
        self._own_ways = [way for way in ways if way.owner]
        self._store.declare(self._queues)
        self._store.bind(ways)
        self._changed.set()  # a claim that waits shall look there

    async def claim(self, limit: int, wait_s: float) -> list[Delivery]:
        """Take up to `limit` messages; wait up to `wait_s` seconds for the first. Cancelling loses nothing."""
        if limit < 1:
            return []
        until = time.monotonic() + wait_s
        while True:
            self._queues = [*self._queues[1:], *self._queues[:1]]  # each claim, another queue comes first
            self._changed.clear()
            deliveries, next_due = self._store.claim(self._owner, self._queues, limit, self._limits)
            left_s = until - time.monotonic()
            if deliveries or left_s <= 0:
                return deliveries  # no `await` since the claim, so no cancellation either
            if next_due is not None:
                left_s = min(left_s, max(0.0, next_due - self._store.clock()))
            try:
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
            except TimeoutError:
                pass  # the time is over, or a message is due

    def holds(self, tag: Any) -> bool:
        """Always: claims here are lost with the whole lease only, and `heartbeat` tells that."""
        return True

    async def settle(self, batch: Sequence[Settlement], published: Published | None = None) -> list[Lost | Completed]:
        """Apply each settlement and return those whose claim was lost, which changed nothing."""
        return [*self._store.settle(self._owner, batch, self._table, limited=bool(self._limits))]

    async def publish(self, batch: Sequence[Message]) -> None:
        """As `MemoryProducer.publish`."""
        lost = self._store.publish(batch, self._table)
        if lost:
            raise unroutable(lost)

    async def hasten(self, delayed: Sequence[Delayed]) -> int:
        """Make delayed messages due now; see `Consumer.hasten`."""
        return self._store.hasten(delayed)

    async def upcoming(self, limit: int) -> list[Message]:
        """Return delayed messages; see `Consumer.upcoming`."""
        return self._store.upcoming(self._queues, limit)

    async def heartbeat(self) -> bool:
        """Renew the lease; False when another worker had ended it, and then a new one is taken."""
        kept = self._store.renew_lease(self._owner, self._settings.worker_lease_s)
        if not kept:
            self._store.take_lease(self._owner, self._settings.worker_lease_s)
            self._store.bind(self._own_ways)
        return kept

    async def maintain(self) -> float:
        """Keep the house; return the seconds until it wants to be kept again."""
        settings = self._settings
        due = self._store.maintain(
            self._owner, settings.task_loss_limit + LOSSES_BEYOND, settings.dead_letter_expires_s
        )
        return MAINTAIN_EVERY_S if due is None else min(MAINTAIN_EVERY_S, max(0.0, due - self._store.clock()))

    async def revocations(self) -> list[Revocation]:
        """Return the revocations in force that this consumer has not returned before."""
        self._revocations_seen, found = self._store.revocations_after(self._revocations_seen)
        return found

    async def release(self) -> None:
        """Give up the lease and give back every claim, unchanged and uncounted. Idempotent."""
        self._store.leave(self._owner)

    async def close(self) -> None:
        """Listen no more; idempotent."""
        self._store.unsubscribe(self._wake)

    def _wake(self) -> None:
        """In any thread: let a waiting claim look again."""
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError:
            self._store.unsubscribe(self._wake)  # the loop was closed without `close`: nobody waits there any more


class MemoryBroker:
    """A broker that lives in this object: who is to meet must share it, in one process. Nothing outlives it.

    Two brokers with the same URL are two places, on purpose: there is no registry behind them.  `clock` returns the time in
    Unix seconds by which delays and ages are reckoned; who gives one of his own calls `wake` after moving it.  `lease_clock`
    returns the seconds by which leases run, where those are others.
    """

    durable = False
    urgent_first: First = "low"

    def __init__(
        self,
        url: str,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        lease_clock: Callable[[], float] | None = None,
        queues: QueueTable | None = None,
    ) -> None:
        self.queues = queues or QueueTable(settings)
        self._url = url
        self._settings = settings
        self._store = MemoryStore(clock, lease_clock or clock)
        self._office = PostOffice()
        self.boards = MemoryBoards()
        """What a program's schedulers agree on."""

    def producer(self) -> MemoryProducer:
        """Return a new producer."""
        return MemoryProducer(self._store, self.queues, self.boards)

    def admin(self) -> MemoryAdmin:
        """Return a new admin."""
        return MemoryAdmin(self._store, self.queues)

    def consumer(self) -> MemoryConsumer:
        """Return a new consumer."""
        return MemoryConsumer(self._store, self._settings, self.queues)

    def messenger(self) -> MemoryMessenger:
        """Return a new messenger."""
        return MemoryMessenger(self._office, self._settings)

    def next_due(self) -> float | None:
        """Return when (Unix seconds) the next delayed message is due; None when none waits. Thread-safe."""
        return self._store.next_due()

    def wake(self) -> None:
        """Let all waiting claims look again. Thread-safe."""
        self._store.wake_all()

    def publish_raw(self, queue: str, raw: bytes) -> None:
        """Put bytes that may be no message into a queue, to see what becomes of them. Thread-safe."""
        self._store.publish_raw(queue, raw)

    def shown_url(self) -> str:
        """Return the URL."""
        return mask(self._url)
