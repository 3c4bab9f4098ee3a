"""The SQLite broker's consumer: one worker's claims, lease and housekeeping."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from msgspec import Struct

from celeriac.brokers.declaring import broadcasts, own_limits, own_names, rooms, say_what_is_unheeded, unroutable
from celeriac.brokers.embedded import messages, workers
from celeriac.brokers.embedded.exchanges import Bound, bind, forget_ownerless, route, ways_of
from celeriac.brokers.embedded.messages import Tag
from celeriac.brokers.embedded.processes import this_process
from celeriac.brokers.sizes import envelope_max_bytes
from celeriac.core.effects import Lost, Settlement
from celeriac.core.message import Delayed, Delivery, Message, Revocation
from celeriac.core.policy import LOSSES_BEYOND
from celeriac.core.ports import Published
from celeriac.core.queues import QueueTable
from celeriac.core.settings import Settings
from celeriac.core.workflow import Completed
from celeriac.exceptions import BrokerUnavailable
from celeriac.transports.sqlite.database import Database, Version
from celeriac.transports.sqlite.expiry import expire_results
from celeriac.transports.sqlite.thread import DatabaseThread

T = TypeVar("T")

MAINTAIN_EVERY_S: Final = 1.0
SWEEP_EVERY_S: Final = 30.0


class _Claimed(Struct):
    """The answer to one attempt to claim."""

    deliveries: list[Delivery]
    version: Version
    """Of the file before the attempt: when it differs, another attempt is worth while."""
    next_due: float | None
    """Unix seconds; the same holds from then on."""


class SqliteConsumer:
    """One worker's side of the file. Belongs to one event loop.

    1. Claims messages for its owner; where there are none, waits until the file changes or a delayed message is due.
    2. Settles: acknowledgement, follow-ups, results and parts of chords are one transaction, which does nothing for a claim
       that was lost.
    3. Keeps the owner's lease.
    4. Keeps the house for all workers: due messages, workers that are gone, what has been kept long enough.

    Claims and settlements do not wait for the disk: a power failure may take the last ones back, so that work is repeated,
    never lost.  What `publish` has taken is on the disk.  All methods raise `BrokerUnavailable` if the file cannot be used.
    """

    hastens: bool = True
    ahead_s: float = 0.0

    def __init__(self, path: str, settings: Settings, table: QueueTable, *, stores_records: bool) -> None:
        self._table = table
        self._limits: dict[str, int] = {}
        self._own_ways: list[Bound] = []
        """The bindings of our own queues, which go with the lease."""
        self.stores_records = stores_records
        self._settings = settings
        self._timeout_s = settings.publish_timeout_s
        self._message_max_bytes = envelope_max_bytes(settings)
        self._thread = DatabaseThread(Database(path, BrokerUnavailable), "celeriac-sqlite-consumer")
        self._owner = ""
        self._queues: list[str] = []
        self._revocations_seen = 0
        # These two are touched in the thread only.
        self._sweep_at = 0.0
        self._owed: set[Tag] = set()
        """Claims whose caller was cancelled, still to be given back."""

    async def open(self, owner: str, queues: Sequence[str], concurrency: Mapping[str, int] | None = None) -> None:
        """Create missing queues, and take the lease if this owner has not had one yet."""
        newcomer = owner != self._owner
        process = this_process()
        lease_s = self._settings.worker_lease_s

        names = own_names(queues, self._table, owner)
        ways = ways_of(queues, self._table, broadcasts(queues, self._table, owner), owner)
        self._limits = own_limits(concurrency or {}, self._table)
        say_what_is_unheeded(queues, self._table, "SQLite")

        def enter(connection: sqlite3.Connection) -> None:
            messages.declare(connection, names)
            if ways:
                bind(connection, ways)
            if newcomer:
                workers.take_lease(connection, owner, process, lease_s, time.monotonic())
            else:
                workers.renew_lease(connection, owner, time.monotonic())

        await self._write(enter)
        self._owner, self._queues = owner, names
        self._own_ways = [way for way in ways if way.owner]

    async def consume(self, queues: Sequence[str]) -> None:
        """Claim from these queues from now on; see `Consumer.consume`."""
        names = own_names(queues, self._table, self._owner)
        ways = ways_of(queues, self._table, broadcasts(queues, self._table, self._owner), self._owner)
        say_what_is_unheeded(queues, self._table, "SQLite")

        def enter(connection: sqlite3.Connection) -> None:
            messages.declare(connection, names)
            if ways:
                bind(connection, ways)

        await self._write(enter)
        self._queues = names
        self._own_ways = [way for way in ways if way.owner]

    async def claim(self, limit: int, wait_s: float) -> list[Delivery]:
        """Take up to `limit` messages; wait up to `wait_s` seconds for the first. Cancelling loses nothing."""
        if limit < 1:
            return []
        until = time.monotonic() + wait_s
        while True:
            self._queues = [*self._queues[1:], *self._queues[:1]]  # each claim, another queue comes first
            attempt = partial(self._attempt, self._owner, tuple(self._queues), limit)
            claimed = await self._thread.run(attempt, self._undo)
            left_s = until - time.monotonic()
            if claimed.deliveries or left_s <= 0:
                return claimed.deliveries
            if claimed.next_due is not None:
                left_s = min(left_s, max(0.0, claimed.next_due - time.time()))
            await self._thread.changed(claimed.version, left_s)

    def holds(self, tag: Any) -> bool:
        """Always: claims here are lost with the whole lease only, and `heartbeat` tells that."""
        return True

    async def settle(self, batch: Sequence[Settlement], published: Published | None = None) -> list[Lost | Completed]:
        """Apply the batch in one transaction; return the settlements whose claim was lost, which changed nothing, and those
        that have a chord to finish first.
        """
        if not batch:
            return []
        owner, keep_records = self._owner, self.stores_records
        return await self._write(
            lambda connection: messages.settle(
                connection, owner, batch, time.time(), self._table, keep_records=keep_records
            ),
            durable=False,
        )

    async def publish(self, batch: Sequence[Message]) -> None:
        """Insert all messages in one transaction, on the disk when it returns."""
        if not batch:
            return

        def work(connection: sqlite3.Connection) -> list[Message]:
            routed = route(connection, batch, self._table)
            messages.publish(connection, routed.messages, time.time())
            return routed.unroutable

        lost = await self._write(work, durable=True)
        if lost:
            raise unroutable(lost)

    async def hasten(self, delayed: Sequence[Delayed]) -> int:
        """Make delayed messages due now; see `Consumer.hasten`."""
        if not delayed:
            return 0
        return await self._write(lambda connection: messages.hasten(connection, delayed), durable=False)

    async def upcoming(self, limit: int) -> list[Message]:
        """Return delayed messages; see `Consumer.upcoming`."""
        queues = tuple(self._queues)
        return await self._thread.run(
            lambda database: database.read(
                lambda connection: messages.upcoming(connection, queues, limit), self._timeout_s
            )
        )

    async def heartbeat(self) -> bool:
        """Renew the lease; False when another worker had ended it, and then a new one is taken."""
        owner, lease_s, process = self._owner, self._settings.worker_lease_s, this_process()

        def renew(connection: sqlite3.Connection) -> bool:
            kept = workers.renew_lease(connection, owner, time.monotonic())
            if not kept:
                workers.take_lease(connection, owner, process, lease_s, time.monotonic())
                if self._own_ways:
                    bind(connection, self._own_ways)
            return kept

        return await self._write(renew, durable=False)

    async def maintain(self) -> float:
        """Keep the house; return the seconds until it wants to be kept again."""
        return await self._thread.run(partial(self._keep_house, self._owner))

    async def revocations(self) -> list[Revocation]:
        """Return the revocations in force that this consumer has not returned before."""
        seen = self._revocations_seen
        self._revocations_seen, found = await self._thread.run(
            lambda database: database.read(
                lambda connection: workers.revocations_after(connection, seen, time.time()), self._timeout_s
            )
        )
        return found

    async def release(self) -> None:
        """Give up the lease and give back every claim, unchanged and uncounted. Idempotent."""
        owner = self._owner

        def leave(connection: sqlite3.Connection) -> None:
            messages.give_back_all(connection, owner)
            workers.give_up_lease(connection, owner)
            if self._own_ways:
                forget_ownerless(connection)

        await self._write(leave, durable=False)

    async def close(self) -> None:
        """Close the connection and end the thread; idempotent."""
        await self._thread.close()

    async def _write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        return await self._thread.run(lambda database: database.write(work, self._timeout_s, durable=durable))

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _attempt(self, owner: str, queues: tuple[str, ...], limit: int, database: Database) -> _Claimed:
        """Claim what there is. A look comes first, so that idle workers never take the lock that writers need."""
        self._pay(owner, database)
        version = database.version(self._timeout_s)
        room: dict[str, int] = {}
        if self._limits:
            held = database.read(lambda connection: messages.held_by(connection, owner), self._timeout_s)
            room = rooms(queues, self._limits, held)
            queues = tuple(queue for queue in queues if room.get(queue) != 0)
        waiting = database.read(lambda connection: messages.look(connection, queues), self._timeout_s)
        now = time.time()
        if not waiting.ready and (waiting.next_due is None or waiting.next_due > now):
            return _Claimed([], version, waiting.next_due)

        def take(connection: sqlite3.Connection) -> _Claimed:
            messages.release_due(connection, now)
            # Without a lease nobody would give these claims back if we died; the heartbeat will take a new one.
            leased = workers.has_lease(connection, owner)
            deliveries = (
                messages.claim(connection, owner, queues, limit, room, self._message_max_bytes) if leased else []
            )
            return _Claimed(deliveries, version, messages.next_due(connection))

        return database.write(take, self._timeout_s, durable=False)

    def _undo(self, database: Database, claimed: _Claimed) -> None:
        """The caller was cancelled: nobody will run these."""
        self._owed |= {delivery.tag for delivery in claimed.deliveries}
        try:
            self._pay(self._owner, database)
        except BrokerUnavailable:
            pass  # still owed: tried again with the next claim and by `maintain`

    def _pay(self, owner: str, database: Database) -> None:
        if self._owed:
            owed = set(self._owed)
            database.write(
                lambda connection: messages.give_back(connection, owner, owed), self._timeout_s, durable=False
            )
            self._owed -= owed

    def _keep_house(self, owner: str, database: Database) -> float:
        self._pay(owner, database)
        now, monotonic = time.time(), time.monotonic()
        lost, due = database.read(
            lambda connection: (workers.find_lost(connection, owner, monotonic), messages.next_due(connection)),
            self._timeout_s,
        )
        if lost or (due is not None and due <= now):

            def tidy(connection: sqlite3.Connection) -> float | None:
                workers.end_leases(connection, lost)
                messages.take_over(connection, self._settings.task_loss_limit + LOSSES_BEYOND, now)
                if lost:
                    forget_ownerless(connection)
                messages.release_due(connection, now)
                return messages.next_due(connection)

            due = database.write(tidy, self._timeout_s, durable=False)
        if monotonic >= self._sweep_at:
            self._sweep_at = monotonic + SWEEP_EVERY_S
            database.write(partial(self._sweep, now), self._timeout_s, durable=False)
        return MAINTAIN_EVERY_S if due is None else min(MAINTAIN_EVERY_S, max(0.0, due - time.time()))

    def _sweep(self, now: float, connection: sqlite3.Connection) -> None:
        messages.take_over(connection, self._settings.task_loss_limit + LOSSES_BEYOND, now)
        messages.expire_dead(connection, now - self._settings.dead_letter_expires_s)
        workers.expire_revocations(connection, now)
        expire_results(connection, now)
