"""The memory broker: for tests and for programs whose worker is embedded in the same process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from celeriac.brokers.embedded.memory_store import MemoryStore
from celeriac.core.effects import Lost, Settlement
from celeriac.core.message import DeadLetter, Delivery, Message, QueueDepth, Revocation
from celeriac.core.settings import Settings
from celeriac.core.urls import mask

MAINTAIN_EVERY_S: Final = 1.0


class MemoryProducer:
    """Publishes into the broker. Thread-safe; never blocks."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def publish(self, batch: Sequence[Message], timeout_s: float) -> None:
        """Take all messages; there is nothing to wait for."""
        self._store.publish(batch)

    def close(self) -> None:
        """There is nothing to close."""


class MemoryAdmin:
    """Looks into the broker. Thread-safe; never blocks."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def declare(self, queues: Collection[str]) -> None:
        """Create the queues that do not exist. Idempotent."""
        self._store.declare(queues)

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

    def close(self) -> None:
        """There is nothing to close."""


class MemoryConsumer:
    """One worker's side. Belongs to one event loop; the producers may be in any thread."""

    stores_records: bool = False

    def __init__(self, store: MemoryStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._owner = ""
        self._queues: list[str] = []
        self._revocations_seen = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()

    async def open(self, owner: str, queues: Sequence[str]) -> None:
        """Create missing queues, and take the lease if this owner has not had one yet."""
        self._store.declare(queues)
        if owner != self._owner:
            self._store.take_lease(owner, self._settings.worker_lease_s)
        else:
            self._store.renew_lease(owner, self._settings.worker_lease_s)
        self._owner, self._queues = owner, list(queues)
        self._loop = asyncio.get_running_loop()
        self._store.subscribe(self._wake)

    async def claim(self, limit: int, wait_s: float) -> list[Delivery]:
        """Take up to `limit` messages; wait up to `wait_s` seconds for the first. Cancelling loses nothing."""
        if limit < 1:
            return []
        until = time.monotonic() + wait_s
        while True:
            self._queues = [*self._queues[1:], *self._queues[:1]]  # each claim, another queue comes first
            self._changed.clear()
            deliveries, next_due = self._store.claim(self._owner, self._queues, limit)
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

    async def settle(self, batch: Sequence[Settlement]) -> list[Lost]:
        """Apply each settlement and return those whose claim was lost, which changed nothing."""
        return self._store.settle(self._owner, batch)

    async def publish(self, batch: Sequence[Message]) -> None:
        """As `MemoryProducer.publish`."""
        self._store.publish(batch)

    async def heartbeat(self) -> bool:
        """Renew the lease; False when another worker had ended it, and then a new one is taken."""
        kept = self._store.renew_lease(self._owner, self._settings.worker_lease_s)
        if not kept:
            self._store.take_lease(self._owner, self._settings.worker_lease_s)
        return kept

    async def maintain(self) -> float:
        """Keep the house; return the seconds until it wants to be kept again."""
        settings = self._settings
        due = self._store.maintain(self._owner, settings.task_loss_limit, settings.dead_letter_expires_s)
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
    Unix seconds by which delays, leases and ages are reckoned; who gives one of his own calls `wake` after moving it.
    """

    durable = False

    def __init__(self, url: str, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._settings = settings
        self._store = MemoryStore(clock)

    def producer(self) -> MemoryProducer:
        """Return a new producer."""
        return MemoryProducer(self._store)

    def admin(self) -> MemoryAdmin:
        """Return a new admin."""
        return MemoryAdmin(self._store)

    def consumer(self) -> MemoryConsumer:
        """Return a new consumer."""
        return MemoryConsumer(self._store, self._settings)

    def wake(self) -> None:
        """Let all waiting claims look again. Thread-safe."""
        self._store.wake_all()

    def publish_raw(self, queue: str, raw: bytes) -> None:
        """Put bytes that may be no message into a queue, to see what becomes of them. Thread-safe."""
        self._store.publish_raw(queue, raw)

    def shown_url(self) -> str:
        """Return the URL."""
        return mask(self._url)
