"""The worker's side: messages in under manual acknowledgement, settled in batches."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from celeriac.brokers.amqp import parking
from celeriac.brokers.amqp.acks import ack_frames, nack_frames
from celeriac.brokers.amqp.consumer_timeout import must_secure, told_s
from celeriac.brokers.amqp.feed import Feed
from celeriac.brokers.amqp.incoming import delivery_count
from celeriac.brokers.amqp.intake import Intake, Tag
from celeriac.brokers.amqp.lane import Held
from celeriac.brokers.amqp.outgoing import to_publish
from celeriac.brokers.amqp.revoked_reader import RevokedReader
from celeriac.brokers.declaring import broadcasts, own_limits, own_names, unroutable
from celeriac.core.effects import Ack, Dead, Lost, Requeue, Settlement
from celeriac.core.ids import uuid7
from celeriac.core.message import Delayed, Delivery, Message, Revocation
from celeriac.core.ports import Published
from celeriac.core.queues import QueueTable, public_queue
from celeriac.core.settings import Settings
from celeriac.core.workflow import Completed
from celeriac.exceptions import BrokerUnavailable, EncodeError, OperationalError, PublishTimeout
from celeriac.transports.amqp.aio import CONSUME_CHANNEL, REVOKED_CHANNEL, AsyncConnection
from celeriac.transports.amqp.blocking import connection_name
from celeriac.transports.amqp.errors import ChannelError, QueueBeingMade
from celeriac.transports.amqp.nodes import Nodes
from celeriac.transports.amqp.outbox import Publish
from celeriac.transports.amqp.protocol import methods
from celeriac.transports.amqp.protocol.events import Cancelled, ChannelClosed, Delivered
from celeriac.transports.amqp.topology import NoRoute, Topology

RETURNS_ALLOWED: Final = 10
"""A quorum queue counts a message given back like one that went down with its worker.  From this count on, giving back publishes
it anew: so a higher count can only come from losses, and RabbitMQ 4, which drops a message at 20, never does so for returns."""
LAST_COUNT: Final = 20
"""RabbitMQ 4 drops a message that comes back once more after this count."""
STALL_S: Final = 30.0
"""Nothing has come for so long: reason enough to ask whether something waits."""
_OPEN_WAIT_S: Final = 30.0
"""For making and finding all queues: the first worker of a cluster makes 28 replicated ones for the delays."""
_BEING_MADE_PAUSE_S: Final = 0.1
_REVOKED_AGAIN_S: Final = 5.0
"""Pause between two attempts to read the stream of revocations, while that does not work."""
_log = logging.getLogger(__name__)


class AmqpConsumer:
    """One worker's connection to RabbitMQ.

    1. Owns the connection and its heartbeats; `open` makes it anew, whatever was before.
    2. Claims through its intake, which is as wide as `claim` asks for.
    3. Settles: follow-ups first, confirmed, then the acknowledgements, in as few frames as can be.
    4. Gives back what nobody started within `worker_prefetch_hold_s`, for other workers that are idle.
    5. Secures claims that take long against RabbitMQ's `consumer_timeout`.
    6. Tells which claims are void: those that came by a channel which is gone.

    To be used in one event loop only.
    """

    stores_records = False
    hastens: bool = False
    ahead_s: float = 0.0

    def __init__(self, nodes: Nodes, settings: Settings, table: QueueTable) -> None:
        self._nodes = nodes
        self._settings = settings
        self._table = table
        self._owner = ""
        self._connection: AsyncConnection | None = None
        self._topology = Topology(settings, table)
        self._intake = Intake()
        self._limits: dict[str, int] = {}
        self._prioritized: list[Feed] = []
        """Of queues that are declared with priorities."""
        self._arrived: asyncio.Event | None = None
        self._loop_time: Callable[[], float] = time.monotonic
        self._keeper: asyncio.Task[None] | None = None
        self._revoked: RevokedReader | None = None
        self._revoked_again_at = 0.0
        self._secure_s = settings.worker_claim_secure_s

    # -- opening and closing ------------------------------------------------------------------------------------------

    async def open(self, owner: str, queues: Sequence[str], concurrency: Mapping[str, int] | None = None) -> None:
        """Connect anew, create missing queues and the delay levels, and read the revocations.

        Raises `BrokerUnavailable`, and `OperationalError` when RabbitMQ refuses the login or a queue.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _OPEN_WAIT_S
        while True:
            try:
                await self._open_once(owner, queues, concurrency or {})
                return
            except QueueBeingMade as error:  # by a worker that starts at the same moment
                if loop.time() > deadline:
                    raise
                _log.debug("opening again: %s", error)
                await asyncio.sleep(_BEING_MADE_PAUSE_S)

    async def _open_once(self, owner: str, queues: Sequence[str], concurrency: Mapping[str, int]) -> None:
        await self.close()
        self._owner = owner
        self._limits = own_limits(concurrency, self._table)
        names = own_names(queues, self._table, owner)
        self._intake.begin(self._feeds(names))
        self._note_prioritized()
        self._arrived = asyncio.Event()
        self._loop_time = asyncio.get_running_loop().time
        self._topology = Topology(self._settings, self._table, owner)
        self._revoked = self._revoked or RevokedReader()
        connection = self._connection = await AsyncConnection.open(
            self._nodes,
            self,
            heartbeat_s=self._settings.broker_heartbeat,
            timeout_s=self._settings.broker_connection_timeout,
            name=connection_name("worker"),
        )
        try:
            async with asyncio.timeout(_OPEN_WAIT_S):
                await self._ensure(connection, queues, names)
                await self._revoked.open(connection, self._topology)
        except TimeoutError:
            self._abandon()
            self._nodes.passed_over(connection.address)
            raise BrokerUnavailable(
                f"RabbitMQ at {connection.address.shown} did not get ready in {_OPEN_WAIT_S:g} s"
            ) from None
        except BaseException:
            self._abandon()
            raise
        self._keeper = asyncio.create_task(self._keep(), name="celeriac-amqp-give-back")

    async def consume(self, queues: Sequence[str]) -> None:
        """Claim from these queues from now on; see `Consumer.consume`."""
        names = own_names(queues, self._table, self._owner)
        connection = self._live()
        try:
            async with asyncio.timeout(_OPEN_WAIT_S):
                await self._ensure(connection, queues, names)
                before = self._intake.feeds
                new = self._feeds([name for name in names if name not in before])
                self._intake.feeds = {name: before.get(name) or new[name] for name in names}
                self._note_prioritized()
                for feed in [feed for name, feed in before.items() if name not in self._intake.feeds]:
                    await self._intake.cancel(connection, feed)
                    await self._give_back(connection, self._intake.unclaimed(feed))
        except TimeoutError:
            raise BrokerUnavailable(f"RabbitMQ at {self._nodes.shown} does not answer") from None
        self._wake()

    def _feeds(self, names: Sequence[str]) -> dict[str, Feed]:
        """Return new feeds for queues."""
        made = {}
        for name in names:
            declared = self._table.get(name)
            made[name] = Feed(
                name,
                self._limits.get(public_queue(name)),
                declared.consumer_arguments if declared is not None else None,
            )
        return made

    def _note_prioritized(self) -> None:
        self._prioritized = [
            feed
            for name, feed in self._intake.feeds.items()
            if "x-max-priority" in (self._table.get(name) or self._table.missing(name)).arguments()
        ]

    async def _ensure(self, connection: AsyncConnection, queues: Sequence[str], names: Sequence[str]) -> None:
        """See that queues and what delays their messages are there."""
        for exchange, key, own in broadcasts(queues, self._table, self._owner):
            await connection.run(self._topology.ensure_private(own, exchange, key))
        for name in names:
            await self._ensure_delay(connection, name)

    async def _ensure_delay(self, connection: AsyncConnection, queue: str) -> None:
        try:
            await connection.run(self._topology.ensure_delay(queue))
        except ChannelError as error:
            if not error.queue_is_away:
                raise
            # It must not keep the worker from its other queues; whoever sends into the delay tries again.
            _log.warning("queue %r is not ready for delays, or at all: %s", queue, error)

    async def release(self) -> None:
        """Return every claim that is left, and stop consuming. Idempotent."""
        await self._stop_keeper()
        connection = self._connection
        if connection is None or not connection.usable:
            return
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                for feed in self._intake.feeds.values():
                    await self._intake.cancel(connection, feed)
                await self._give_back(connection, self._intake.tags())
                async with connection.lock(CONSUME_CHANNEL):
                    for channel in self._intake.channels():
                        # An answered close is the only proof that all before it has arrived.
                        await connection.call(channel, [methods.channel_close()])
        except (OperationalError, TimeoutError) as error:
            _log.info("RabbitMQ takes back by itself what could not be given back: %s", error)
        self._void_all()

    async def close(self) -> None:
        """Close the connection; what was claimed goes back by itself. Idempotent."""
        await self._stop_keeper()
        connection, self._connection = self._connection, None
        self._void_all()
        if connection is not None:
            await connection.close()

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        self._void_all()
        if connection is not None:
            connection.abandon()

    async def _stop_keeper(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    def _void_all(self) -> None:
        self._intake.void_all()

    def _live(self) -> AsyncConnection:
        connection = self._connection
        if connection is None:
            raise BrokerUnavailable(f"not connected to RabbitMQ at {self._nodes.shown}")
        if connection.error is not None:
            raise connection.error
        return connection

    # -- claiming -----------------------------------------------------------------------------------------------------

    async def claim(self, limit: int, wait_s: float) -> list[Delivery]:
        """Take up to `limit` messages, queues taking turns; wait up to `wait_s` seconds for the first one.

        Raises `BrokerUnavailable`. Cancelling it loses nothing.
        """
        connection = self._live()
        if limit <= 0:
            return []
        if claimed := await self._take_narrowly(connection, limit):
            return claimed
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await self._intake.widen(connection, self._topology, limit)
        except TimeoutError:
            raise BrokerUnavailable(f"RabbitMQ at {self._nodes.shown} does not answer") from None
        if claimed := await self._take_narrowly(connection, limit):
            return claimed
        assert self._arrived is not None
        self._arrived.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._arrived.wait()
        except TimeoutError:
            return []
        return await self._take_narrowly(self._live(), limit)

    async def _take_narrowly(self, connection: AsyncConnection, limit: int) -> list[Delivery]:
        """Claim, and let nothing of a queue with priorities lie here: something more urgent may come before its turn does."""
        feeds = [feed for feed in self._prioritized if feed.buffer]
        if feeds:
            try:
                async with asyncio.timeout(self._settings.publish_timeout_s):
                    for feed in feeds:
                        await self._intake.cancel(connection, feed)
            except TimeoutError:
                raise BrokerUnavailable(f"RabbitMQ at {self._nodes.shown} does not answer") from None
        claimed = self._take(limit)  # from here on nothing is waited for: a cancelled claim must lose nothing
        for feed in feeds:
            self._intake.settle(connection, nack_frames, self._intake.unclaimed(feed))
        return claimed

    def _take(self, limit: int) -> list[Delivery]:
        claimed = self._intake.take(limit)
        for delivery in claimed:
            if delivery.losses:
                delivery.losses = self._losses(delivery.losses)
        return claimed

    def _losses(self, count: int) -> int:
        if count >= LAST_COUNT:  # it must be parked now, before RabbitMQ drops it
            return max(count - RETURNS_ALLOWED, self._settings.task_loss_limit)
        return max(0, count - RETURNS_ALLOWED)

    # -- giving back --------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Give back what lies unstarted for too long, and secure what runs for long."""
        hold_s = self._settings.worker_prefetch_hold_s
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(hold_s / 4)
            await self._secure(loop.time())
            too_old = loop.time() - hold_s
            for feed in list(self._intake.feeds.values()):
                if not feed.buffer or feed.buffer[0][1] > too_old:
                    continue
                try:
                    async with asyncio.timeout(self._settings.publish_timeout_s):
                        connection = self._live()
                        await self._intake.cancel(connection, feed)
                        await self._give_back(connection, self._intake.unclaimed(feed))
                except (OperationalError, TimeoutError) as error:
                    # The connection's loss gives back all by itself; the next claim tells the core.
                    _log.debug("giving back unstarted messages of %s: %s", feed.queue, error)

    async def _secure(self, now: float) -> None:
        connection = self._connection
        if connection is None or not self._intake.has_older(now - self._secure_s) or not must_secure(connection.server):
            return
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                count = await self._intake.secure(connection)
        except (OperationalError, TimeoutError) as error:  # tried again soon, unless all claims are void now
            _log.debug("securing claims: %s", error)
            return
        _log.debug("%d claims are secured against RabbitMQ's consumer_timeout", count)

    async def _give_back(self, connection: AsyncConnection, tags: Sequence[Tag]) -> None:
        """Return messages to their queues."""
        intake = self._intake
        tired: dict[Tag, Publish] = {}
        fresh: list[Tag] = []
        for tag in tags:
            held = intake.find(tag)
            if held is None:
                continue
            if delivery_count(held.event) >= RETURNS_ALLOWED:
                tired[tag] = parking.again(held.event, held.feed.queue)
            else:
                fresh.append(tag)
        intake.settle(connection, nack_frames, fresh)
        if tired:
            await connection.run(self._topology.publish(list(tired.values())))
            intake.settle(connection, ack_frames, tired)

    def holds(self, tag: Tag) -> bool:
        """Tell whether a claim's channel is still there and it is not settled; see `Consumer.holds`."""
        return self._intake.find(tag) is not None

    # -- settling -----------------------------------------------------------------------------------------------------

    async def settle(self, batch: Sequence[Settlement], published: Published | None = None) -> list[Lost | Completed]:
        """Publish the follow-ups and what is to be parked, confirmed; then acknowledge; return those that are void.

        Raises `BrokerUnavailable` when the follow-ups could not be published, `PublishTimeout` when that is not known.
        """
        lost: list[Lost | Completed] = []
        acks: list[Tag] = []
        nacks: list[Tag] = []
        publishes: list[Publish] = []
        now = time.time()
        tags: set[Tag] = set()
        owners: list[Tag] = []
        """To which delivery each of `publishes` belongs."""
        for settlement in batch:
            tag: Tag = settlement.tag
            held = self._intake.find(tag)
            if held is None or tag in tags:
                lost.append(Lost(tag))
                continue
            tags.add(tag)
            if isinstance(settlement.verdict, Ack) and not settlement.publish:  # the commonest first
                acks.append(tag)
                continue
            if self._prepare(settlement, held, publishes, now):
                acks.append(tag)
            else:
                nacks.append(tag)
            owners += [tag] * (len(publishes) - len(owners))
        if not tags:
            return lost
        connection = self._live()
        if publishes:
            try:
                await self._send(connection, publishes)
            except NoRoute as error:
                stuck = {tag for publish, tag in zip(publishes, owners, strict=True) if error.has(publish)}
                await self._park_stuck(connection, stuck, error)
        if published is not None and (ours := [tag for tag in tags if self.holds(tag)]):
            await published(ours)
        if publishes or published is not None:  # meanwhile a channel may have been closed
            lost += [Lost(tag) for tag in tags if not self.holds(tag)]
        self._intake.settle(connection, ack_frames, acks)
        self._intake.settle(connection, nack_frames, nacks)
        return lost

    async def _park_stuck(self, connection: AsyncConnection, tags: Collection[Tag], error: NoRoute) -> None:
        """Park messages whose follow-ups no queue is there for; all others' have been sent."""
        now = time.time()
        reason = f"its follow-up cannot be sent: {error}"
        expires_s = self._settings.dead_letter_expires_s
        parked = [
            parking.park(held.event, public_queue(held.feed.queue), reason, now, uuid7(now, os.urandom(10)), expires_s)
            for tag in tags
            if (held := self._intake.find(tag)) is not None
        ]
        if parked:
            await self._send(connection, parked)

    def _prepare(self, settlement: Settlement, held: Held, publishes: list[Publish], now: float) -> bool:
        """Collect what a settlement publishes; True when its message is to be acknowledged, False when given back."""
        event, queue = held.event, held.feed.queue
        verdict = settlement.verdict
        try:
            publishes += [to_publish(message, now) for message in settlement.publish]
        except EncodeError as error:
            # One message that cannot go on must not hold up all others for ever.
            verdict = Dead(f"its follow-up cannot be sent: {error}")
        match verdict:
            case Dead(reason=reason):
                handle = uuid7(now, os.urandom(10))
                expires_s = self._settings.dead_letter_expires_s
                publishes.append(parking.park(event, public_queue(queue), reason, now, handle, expires_s))
            case Requeue():
                if delivery_count(event) < RETURNS_ALLOWED:
                    return False
                publishes.append(parking.again(event, queue))
        return True

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send messages over this connection, confirmed, within `publish_timeout_s`; errors as `Producer.publish`."""
        connection = self._live()
        now = time.time()
        publishes = [to_publish(message, now) for message in messages]
        if publishes:
            try:
                await self._send(connection, publishes)
            except NoRoute as error:
                pairs = zip(messages, publishes, strict=True)
                raise unroutable([message for message, publish in pairs if error.has(publish)]) from None

    async def _send(self, connection: AsyncConnection, publishes: Sequence[Publish]) -> None:
        try:
            await connection.publish(self._topology.publish(publishes), self._settings.publish_timeout_s)
        except PublishTimeout:
            # One node of several that is cut off from the others confirms nothing; what blocks one node blocks them all.
            if len(self._nodes) > 1 and connection.blocked is None:
                connection.give_up("it confirms nothing")
            raise

    # -- the rest of the port -----------------------------------------------------------------------------------------

    async def hasten(self, delayed: Sequence[Delayed]) -> int:
        """Do nothing: RabbitMQ lets nobody reach into its delay."""
        return 0

    async def upcoming(self, limit: int) -> list[Message]:
        """Return nothing: RabbitMQ lets nobody look into its delay."""
        return []

    async def heartbeat(self) -> bool:
        """Return True, or raise `BrokerUnavailable` when the connection is gone.

        There is no lease to lose: RabbitMQ hands out again what a lost connection or channel held, `holds` knows what that
        was, and the core recognises what it still runs when it comes again.
        """
        self._live()
        return True

    async def maintain(self) -> float:
        """See that messages go on coming: a consumer that RabbitMQ has forgotten is started anew by the next claim.

        There is no other housekeeping: RabbitMQ keeps delays, claims and dead letters by itself.  Raises `BrokerUnavailable`.
        """
        connection = self._live()
        await self._retry_revocations(connection)
        silent_since = asyncio.get_running_loop().time() - STALL_S
        for feed in list(self._intake.feeds.values()):
            if feed.room() <= 0 or feed.last_news > silent_since:
                continue
            try:
                async with asyncio.timeout(self._settings.publish_timeout_s):
                    ready = await connection.run(self._topology.look(feed.queue))
            except TimeoutError:
                break  # whether the other side is still there is the heartbeat's affair
            if ready and feed.suspect:
                _log.warning("%d messages wait in %r, but none comes: consuming anew", ready, feed.queue)
                await self._intake.cancel(connection, feed)
            feed.suspect = bool(ready)
        return 1.0

    async def _retry_revocations(self, connection: AsyncConnection) -> None:
        now = asyncio.get_running_loop().time()
        if self._revoked is None or self._revoked.is_open or now < self._revoked_again_at:
            return
        self._revoked_again_at = now + _REVOKED_AGAIN_S
        try:
            async with asyncio.timeout(_OPEN_WAIT_S):
                await self._revoked.open(connection, self._topology)
        except TimeoutError:
            _log.warning("RabbitMQ at %s does not answer about revocations", self._nodes.shown)

    async def revocations(self) -> list[Revocation]:
        """Return the revocations in force that this consumer has not returned before."""
        return self._revoked.take() if self._revoked is not None else []

    # -- what comes in by itself --------------------------------------------------------------------------------------

    def on_delivered(self, event: Delivered) -> None:
        """Take in a message."""
        if event.channel == REVOKED_CHANNEL:
            if self._revoked is not None:
                self._revoked.on_delivered(event)
            return
        if self._intake.on_delivered(event, self._loop_time()):
            self._wake()

    def on_cancelled(self, event: Cancelled) -> None:
        """RabbitMQ ended a consumer: its queue was deleted, or moved to another node."""
        if event.channel == REVOKED_CHANNEL:
            _log.warning("the stream of revocations is gone; it is read again after the next reconnection")
            return
        feed = self._intake.on_cancelled(event.consumer)
        if feed is not None:
            _log.warning("RabbitMQ cancelled the consumer of queue %r; it will be declared again", feed.queue)
            self._topology.forget()
            self._wake()

    def on_channel_closed(self, event: ChannelClosed) -> None:
        """RabbitMQ closed a channel, as it does for claims older than its `consumer_timeout`; the next claim reopens it."""
        taken = self._intake.void(event.channel)
        if taken is None:
            return
        timeout_s = told_s(event.text)
        if not taken:
            _log.debug("RabbitMQ closed a channel, without anything on it: %s %s", event.code, event.text)
        elif timeout_s is None:
            _log.warning("RabbitMQ took back %d claims of this worker: %s %s", len(taken), event.code, event.text)
        else:
            self._secure_s = min(self._secure_s, timeout_s / 2)
            _log.warning(
                "RabbitMQ took back %d claims of this worker, because its consumer_timeout is %g s: others may run them a second time."
                " From now on claims are secured after %g s; set worker_claim_secure_s to that",
                *(len(taken), timeout_s, self._secure_s),
            )
        self._wake()

    def on_lost(self, error: OperationalError) -> None:
        """The connection is gone."""
        _log.debug("%s", error)
        if self._connection is not None:
            self._nodes.passed_over(self._connection.address)
        self._void_all()
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
