"""A worker's side of Redis: claims under a lease, settlements, and the connection that both go over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from celeriac.brokers.declaring import broadcasts, own_limits, own_names, rooms, say_what_is_unheeded, unroutable
from celeriac.brokers.redis.doorbell import Doorbell
from celeriac.brokers.redis.housekeeping import Housekeeping
from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.outgoing import declare_arguments, publish_commands
from celeriac.brokers.redis.routing import Routed, lookups, private_declarations, route
from celeriac.brokers.redis.settlement import (
    ResultPlace,
    Settling,
    claim_number,
    list_of,
    parked_for,
    settled_answer,
)
from celeriac.brokers.sizes import envelope_max_bytes
from celeriac.core.effects import Dead, Lost, Settlement
from celeriac.core.headers import LOSSES
from celeriac.core.message import Delayed, Delivery, Message, Revocation
from celeriac.core.ports import Published
from celeriac.core.queues import QueueTable
from celeriac.core.settings import Settings
from celeriac.core.workflow import Completed
from celeriac.exceptions import BadMessage, BrokerUnavailable, ImproperlyConfigured, PublishTimeout
from celeriac.transports.redis.address import Address
from celeriac.transports.redis.connection import Connection
from celeriac.transports.redis.durability import Durability
from celeriac.transports.redis.errors import OutcomeUnknown, ReplyError, broker_errors
from celeriac.transports.redis.protocol import Word, raise_errors
from celeriac.wire import redis_envelope

logger = logging.getLogger(__name__)

_CLAIM_MAX_BYTES: Final = 8 * 1024 * 1024
_REVOCATIONS_AT_ONCE: Final = 1000
_CLAIMS_AT_ONCE: Final = 100
_HASTENED_AT_ONCE: Final = 100
_NOT_IN_FORCE: Final = -1
_CLOCK_READ_S: Final = 0.5


class RedisConsumer:
    """One worker's side of Redis.

    1. Keeps one connection, and makes a new one, under the same lease, when a call finds it broken.
    2. Claims messages under the lease, and waits for them at the doorbell. One `claim` at a time.
    3. Settles claims, with all that follows from them, in one step each.
    4. Renews the lease; when it was lost, takes a new one under another name, so that what belonged to the old one is
       lost for certain, however far the taking over of it has come.
    5. Knows what it holds: a claim whose answer got lost with a connection is found after reconnecting, and handed out.

    All in one event loop. Any call may be cancelled at any moment; what was claimed by then is handed out by the next.
    """

    stores_records: bool
    hastens: bool = True
    ahead_s: float = 0.0

    def __init__(
        self,
        address: Address,
        keys: Keys,
        settings: Settings,
        results: ResultPlace | None,
        table: QueueTable,
        durability: Durability | None = None,
    ) -> None:
        """`durability` holds for `publish` alone: a settlement that is lost with a server makes the message claimed again."""
        self._durability = durability
        self.stores_records = results is not None
        self._table = table
        self._address = address
        self._keys = keys
        self._settings = settings
        self._errors = broker_errors(address)
        self._settling = Settling(keys, address.db, results, settings.dead_letter_expires_s)
        self._housekeeping = Housekeeping(keys, settings, self._settling)
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._doorbell = Doorbell()
        self._closed = False
        self._envelope_max_bytes = envelope_max_bytes(settings)

        self._asked: list[str] = []
        """The queues as we were told; those that are read may be others, see `own_names`."""
        self._limits: dict[str, int] = {}
        self._queues: list[str] = []
        self._claim_keys: list[str] = []
        self._queue_of: dict[str, str] = {}
        self._turn = 0

        self._owner = ""
        self._leases_taken = 0
        self._lease = ""
        self._claims = ""
        self._last_claim = 0
        self._held: set[str] = set()
        """Tags of what is claimed and not settled, as far as we know."""
        self._arrived: deque[Delivery] = deque()
        """Claimed, and not handed out yet."""
        self._known_queues: set[str] = set()
        self._seen_revocation = "0"

    # -- life ------------------------------------------------------------------------------------------------------

    async def open(self, owner: str, queues: Sequence[str], concurrency: Mapping[str, int] | None = None) -> None:
        """Connect and take the lease, or reconnect; see `Consumer.open`."""
        if not queues:
            raise ImproperlyConfigured(f"worker {owner} has no queue to read from: name at least one")
        if self._connection is not None:
            self._connection.close()
        self._closed = False
        if owner != self._owner:
            self._owner = owner
            self._leases_taken = 0
            self._lease = ""
        self._asked = list(dict.fromkeys(queues))
        self._limits = own_limits(concurrency or {}, self._table)
        say_what_is_unheeded(self._asked, self._table, "Redis")
        with self._errors:
            await self._connected()

    async def consume(self, queues: Sequence[str]) -> None:
        """Claim from these queues from now on; see `Consumer.consume`."""
        self._asked = list(dict.fromkeys(queues))
        say_what_is_unheeded(self._asked, self._table, "Redis")
        with self._errors:
            connection = await self._connected()
            keys, arguments = declare_arguments(self._keys, self._asked, self._table)
            await connection.run_surely(connection.scripts.declare, keys, *arguments)
            self._name_claim_keys()
            await self._hear_broadcasts(connection)
        self._doorbell.ring()  # a claim that waits shall look there

    async def release(self) -> None:
        """Give back every claim, unchanged and uncounted, and the lease; see `Consumer.release`."""
        if not self._lease:
            return
        with self._errors:
            connection = await self._connected()
            left = False
            while not left:  # a claim that was under way may come in between
                tags = [tag.decode() for tag in await connection.call("HKEYS", self._claims)]
                tags.sort(key=claim_number, reverse=True)
                for start in range(0, len(tags), _CLAIMS_AT_ONCE):
                    some = tags[start : start + _CLAIMS_AT_ONCE]
                    words = [word for tag in some for word in self._settling.returned(tag)]
                    keys = [self._claims, self._keys.queues]
                    await connection.run_surely(connection.scripts.settle, keys, *self._settling.head, *words)
                keys = [self._keys.workers, self._claims]
                left = bool(await connection.run_surely(connection.scripts.leave, keys, self._lease))
            await self._housekeeping.end_broadcasts(connection, self._lease)
        self._forget_claims()

    async def close(self) -> None:
        """Close the connection; idempotent. Claims stay claimed until the lease runs out: `release` first."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    # -- claims ----------------------------------------------------------------------------------------------------

    async def claim(self, limit: int, wait_s: float) -> list[Delivery]:
        """Take up to `limit` messages, waiting up to `wait_s` seconds for the first; see `Consumer.claim`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        with self._errors:
            connection = await self._connected()
            while not self._arrived:
                self._doorbell.arm()
                next_due_s = await self._ask(connection, limit) if self._queues else wait_s
                if self._arrived:
                    break
                rest_s = until - loop.time()
                if rest_s <= 0:
                    return []
                await self._doorbell.wait(min(rest_s, next_due_s))
                connection = await self._connected()
            self._doorbell.served()
            return [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]

    async def _ask(self, connection: Connection, limit: int) -> float:
        """Claim, into `_arrived`; returns the seconds until something is due."""
        run = connection.run_watching if self._doorbell.is_told else connection.run
        self._turn = (self._turn + 1) % len(self._queues)
        first = self._last_claim
        # Counted before it is sent: whatever becomes of this claim, no later one has the same numbers.
        self._last_claim += limit
        turn: tuple[Word, ...] = (len(self._queues), self._turn)
        arguments = (self._lease, limit, _CLAIM_MAX_BYTES, first, *turn, self._envelope_max_bytes)
        if self._limits:
            room = rooms(self._queues, self._limits, (self._queue_of_tag(tag) for tag in self._held))
            arguments += tuple(room.get(queue, "") for queue in self._queues)
        reply = run(connection.scripts.claim, self._claim_keys, *arguments)
        # Not awaited itself: when this call is cancelled, what the script has claimed must arrive all the same.
        reply.add_done_callback(self._take_in)
        try:
            answer = await asyncio.shield(reply)
        except ReplyError as error:
            if error.code != "NOSCRIPT":
                raise
            await connection.call("SCRIPT", "LOAD", connection.scripts.claim.source)
            return await self._ask(connection, limit)
        return 3600.0 if answer == _NOT_IN_FORCE else float(answer[0])

    def _take_in(self, reply: asyncio.Future[Any]) -> None:
        if reply.cancelled() or reply.exception() is not None or reply.result() == _NOT_IN_FORCE:
            return
        words = iter(reply.result()[1:])
        for tag, envelope in zip(words, words, strict=True):
            self._arrive(tag.decode(), envelope)

    def _arrive(self, tag: str, envelope: bytes | int) -> None:
        self._held.add(tag)
        queue = self._queue_of_tag(tag)
        if isinstance(envelope, int):
            problem = f"MessageTooLarge: it has {envelope} bytes, far more than task_message_max_bytes allows"
            self._arrived.append(Delivery(tag, queue, None, problem))
            return
        try:
            message = redis_envelope.decode(envelope, queue)
        except BadMessage as error:
            self._arrived.append(Delivery(tag, queue, None, str(error), envelope))
            return
        losses = message.headers.get(LOSSES, 0)
        self._arrived.append(Delivery(tag, queue, message, losses=losses if isinstance(losses, int) else 0))

    def _queue_of_tag(self, tag: str) -> str:
        list_key = list_of(tag)
        return self._queue_of.get(list_key) or self._keys.queue_of(list_key)

    def _forget_claims(self) -> None:
        self._held.clear()
        self._arrived.clear()

    def holds(self, tag: Any) -> bool:
        """Tell whether a claim has not been settled, and not been lost with a lease; see `Consumer.holds`."""
        return tag in self._held

    # -- settlements and messages ------------------------------------------------------------------------------------

    async def settle(self, batch: Sequence[Settlement], published: Published | None = None) -> list[Lost | Completed]:
        """Settle claims, with what follows from them; see `Consumer.settle`."""
        answers: list[Lost | Completed] = []
        with self._errors:
            batch = await self._routed(batch)
            for tags, arguments in self._settling.batches(batch, time.time() + self.ahead_s):
                connection = await self._connected()
                keys = [self._claims, self._keys.queues]
                told = await connection.run_surely(connection.scripts.settle, keys, *arguments)
                some = [settled_answer(tags, one) for one in told]
                self._held.difference_update(tags)
                self._held.update(answer.tag for answer in some if isinstance(answer, Completed))
                answers += some
        if self._limits:
            self._doorbell.ring()  # there may be room again
        return answers

    async def _routed(self, batch: Sequence[Settlement]) -> Sequence[Settlement]:
        """Return the settlements with every follow-up for a queue; one whose follow-up no queue is there for parks."""
        follow_ups = [message for settlement in batch for message in settlement.publish]
        if all(message.queue for message in follow_ups):
            return batch
        routed_batch = []
        for settlement in batch:
            routed = await self._route(settlement.publish)
            if routed.unroutable:
                verdict = Dead(f"its follow-up cannot be sent: {unroutable(routed.unroutable)}")
                routed_batch.append(parked_for(verdict, settlement, routed.messages))
            else:
                routed_batch.append(msgspec.structs.replace(settlement, publish=routed.messages))
        return routed_batch

    async def _route(self, messages: Sequence[Message]) -> Routed:
        if all(message.queue for message in messages):
            return Routed(list(messages))
        connection = await self._connected()
        exchanges, commands = lookups(self._keys, messages)
        replies = await connection.call_many(commands)
        raise_errors(replies)
        return route(self._keys, self._address.db, self._table, messages, exchanges, replies)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send messages, all or none; see `Producer.publish`."""
        if not messages:
            return
        with self._errors:
            routed = await self._route(messages)
            messages = routed.messages
            connection = await self._connected()
            now = time.time() + self.ahead_s
            commands = publish_commands(self._keys, messages, now, self._known_queues, routed.announced)
            if not commands:
                raise unroutable(routed.unroutable)
            try:
                replies = await connection.call_many(commands)
            except OutcomeUnknown as error:
                raise PublishTimeout(
                    f"Redis at {self._address.shown} took {len(messages)} message(s) and then {error}; it is not known"
                    " whether they arrived"
                ) from None
            raise_errors(replies)
            if isinstance(replies[-1], list):
                raise_errors(replies[-1])
            if (shortfall := await connection.secure(self._durability)) is not None:
                # Not sent again: that would double them for as long as no replica is there.
                logger.warning(
                    "Redis took %d message(s) that follow from tasks, but %s; a failover may lose them",
                    len(messages),
                    shortfall,
                )
        self._known_queues.update(message.queue for message in messages)
        if routed.unroutable:
            raise unroutable(routed.unroutable)

    async def hasten(self, delayed: Sequence[Delayed]) -> int:
        """Make delayed messages due now; see `Consumer.hasten`."""
        found = 0
        with self._errors:
            for start in range(0, len(delayed), _HASTENED_AT_ONCE):
                some = delayed[start : start + _HASTENED_AT_ONCE]
                connection = await self._connected()
                words = [word for one in some for word in (repr(one.due), one.task_id)]
                keys = [self._keys.delayed(one.queue) for one in some]
                found += await connection.run_surely(connection.scripts.hasten, keys, *words)
        return found

    async def upcoming(self, limit: int) -> list[Message]:
        """Return delayed messages; see `Consumer.upcoming`."""
        queues = list(self._queues)
        if not queues:
            return []
        found: list[Message] = []
        with self._errors:
            connection = await self._connected()
            keys = [self._keys.delayed(queue) for queue in queues]
            told = await connection.run_surely(connection.scripts.upcoming, keys, limit, _CLAIM_MAX_BYTES)
        for queue, words in zip(queues, told, strict=True):
            pairs = iter(words)
            for due, envelope in zip(pairs, pairs, strict=True):
                with contextlib.suppress(BadMessage):  # whoever claims it finds out what it is
                    message = redis_envelope.decode(envelope, queue)
                    message.not_before = float(due)
                    found.append(message)
        return sorted(found, key=lambda message: message.not_before or 0.0)[:limit]

    # -- lease and house -------------------------------------------------------------------------------------------

    async def heartbeat(self) -> bool:
        """Renew the lease, or take a new one and return False; see `Consumer.heartbeat`."""
        with self._errors:
            connection = await self._connected()
            await connection.confirm(self._address)
            if await self._renew(connection):
                await self._compare_clocks(connection)
                return True
            logger.warning("lease %s was lost: its messages belong to other workers now", self._lease)
            self._forget_claims()
            await self._take_lease(connection)
            self._doorbell.ring()
            return False

    async def maintain(self) -> float:
        """Keep the house; see `Consumer.maintain`."""
        with self._errors:
            return await self._housekeeping.run(await self._connected())

    async def revocations(self) -> list[Revocation]:
        """Return the revocations not returned before; see `Consumer.revocations`."""
        found: list[Revocation] = []
        keys = [self._keys.revoked, self._keys.revoked_news, self._keys.revoked_ends]
        with self._errors:
            connection = await self._connected()
            while True:
                asked = self._seen_revocation
                serial, *texts = await connection.run_surely(
                    connection.scripts.revocations, keys, asked, _REVOCATIONS_AT_ONCE
                )
                self._seen_revocation = serial.decode()
                found += (revocation for text in texts if (revocation := _revocation(text)) is not None)
                if self._seen_revocation in (asked, "0"):
                    return found

    async def _compare_clocks(self, connection: Connection) -> None:
        started, here = time.monotonic(), time.time()
        seconds, microseconds = await connection.call("TIME")
        took_s = time.monotonic() - started
        if took_s < _CLOCK_READ_S:  # else it may be from long ago
            self.ahead_s = int(seconds) + int(microseconds) / 1e6 - here - took_s / 2

    async def _renew(self, connection: Connection) -> bool:
        keys, arguments = [self._keys.workers, self._claims], (self._lease, self._settings.worker_lease_s, 0)
        return bool(await connection.run_surely(connection.scripts.lease, keys, *arguments))

    async def _take_lease(self, connection: Connection) -> None:
        self._leases_taken += 1
        self._lease = self._owner if self._leases_taken == 1 else f"{self._owner}#{self._leases_taken}"
        self._claims = self._keys.claims(self._lease)
        self._name_claim_keys()
        keys, arguments = [self._keys.workers, self._claims], (self._lease, self._settings.worker_lease_s, 1)
        await connection.run_surely(connection.scripts.lease, keys, *arguments)
        await self._hear_broadcasts(connection)

    async def _hear_broadcasts(self, connection: Connection) -> None:
        """Make our own queues known to senders; they go with the lease."""
        entries = [
            entry
            for exchange, key, queue in broadcasts(self._asked, self._table, self._lease)
            for entry in private_declarations(self._keys, exchange, key, queue, self._lease)
        ]
        if entries:
            words = [word for _, field, value in entries for word in (field, value)]
            keys = [self._keys.queues, *(key for key, _, _ in entries)]
            await connection.run_surely(connection.scripts.declare, keys, 0, *words)

    def _name_claim_keys(self) -> None:
        self._queues = own_names(self._asked, self._table, self._lease)
        lists = {queue: self._keys.lists(queue) for queue in self._queues}
        self._claim_keys = [self._keys.workers, self._claims, *map(self._keys.delayed, self._queues)]
        for step in zip(*lists.values(), strict=True):
            self._claim_keys += step
        self._queue_of = {key: queue for queue, keys in lists.items() for key in keys}

    # -- connection ------------------------------------------------------------------------------------------------

    async def _connected(self) -> Connection:
        connection = self._connection
        if connection is not None and connection.is_open:
            return connection
        async with self._connecting:
            if self._connection is None or not self._connection.is_open:
                if self._closed or not self._owner:
                    raise BrokerUnavailable(f"the consumer for {self._address.shown} is not open: open it first")
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> Connection:
        timeout_s = self._settings.broker_connection_timeout
        connection = await Connection.connect(self._address, timeout_s, self._doorbell.on_push)
        try:
            await connection.check_durability(self._durability)
            keys, arguments = declare_arguments(self._keys, self._asked, self._table)
            await connection.run_surely(connection.scripts.declare, keys, *arguments)
            self._housekeeping.hold_back(await self._seconds_of_grace(connection))
            await self._compare_clocks(connection)
            if not self._lease:
                await self._take_lease(connection)
            else:
                self._name_claim_keys()
                if await self._renew(connection):
                    await self._hear_broadcasts(connection)
                    await self._find_claims(connection)
                # else the lease is lost; the next heartbeat says so and takes a new one
            silent_keys = frozenset({self._keys.workers.encode(), self._claims.encode()})
            await self._doorbell.install(connection, silent_keys)
        except BaseException:
            connection.close()
            raise
        connection.closed.add_done_callback(self._on_closed)
        return connection

    def _on_closed(self, _: asyncio.Future[str]) -> None:
        self._doorbell.ring()  # a waiting claim shall notice

    async def _seconds_of_grace(self, connection: Connection) -> float:
        """Return how long nothing may be taken over, because living workers may not have been able to renew."""
        lease_s = self._settings.worker_lease_s
        if self._lease or self._address.guides:
            return lease_s  # we lost the server, so they may have, too; or it may have become master only just now
        try:
            info = await connection.call("INFO", "server")
        except ReplyError:
            return 0.0  # not allowed to know, as on some managed servers
        uptime = re.search(rb"uptime_in_seconds:(\d+)", info)
        return max(lease_s - int(uptime[1]), 0.0) if uptime else 0.0

    async def _find_claims(self, connection: Connection) -> None:
        """Find what was claimed by a script whose answer never arrived."""
        there = {tag.decode() for tag in await connection.call("HKEYS", self._claims)}
        unknown = sorted(there - self._held, key=claim_number)
        self._held &= there
        for start in range(0, len(unknown), _CLAIMS_AT_ONCE):
            some = unknown[start : start + _CLAIMS_AT_ONCE]
            for tag, envelope in await connection.small_fields(self._claims, some, self._envelope_max_bytes):
                self._arrive(tag, envelope)


def _revocation(text: bytes) -> Revocation | None:
    try:
        return msgspec.json.decode(text, type=Revocation)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return None  # nobody's junk may keep a worker from hearing of the others
