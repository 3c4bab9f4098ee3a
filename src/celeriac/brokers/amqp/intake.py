"""What RabbitMQ hands to one worker, and what of it is not settled yet."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from celeriac.brokers.amqp import consumer_timeout
from celeriac.brokers.amqp.feed import Feed, Window
from celeriac.brokers.amqp.incoming import to_delivery
from celeriac.brokers.amqp.lane import Frames, Held, Lane
from celeriac.core.message import Delivery
from celeriac.transports.amqp.aio import CONSUME_CHANNEL, FIRST_FREE_CHANNEL, AsyncConnection
from celeriac.transports.amqp.errors import ChannelError
from celeriac.transports.amqp.protocol import methods
from celeriac.transports.amqp.protocol.connection import MAX_CHANNEL
from celeriac.transports.amqp.protocol.events import Delivered
from celeriac.transports.amqp.topology import Topology

_MAX_PREFETCH: Final = 65_535
AWAY_PAUSE_S: Final = 5.0
"""So long a queue is left alone whose node is down."""
_log = logging.getLogger(__name__)

Tag = tuple[int, int]
"""Generation of the channel, delivery tag in it."""


class Intake:
    """The account of what RabbitMQ hands out to one worker.

    1. Keeps one feed per queue, as wide as is asked for, and takes from them in turn.
    2. Knows all that is held, on which channel, and settles some of it.
    3. Moves on to another channel when claims take long, and secures them on the old one until they are settled.
    4. Counts the generations of channels: what was held on one that is gone is RabbitMQ's again.
    """

    def __init__(self) -> None:
        self.feeds: dict[str, Feed] = {}
        self._generations = itertools.count(1)
        self._lane = Lane(CONSUME_CHANNEL, next(self._generations))
        """The one on which messages come."""
        self._lanes: dict[int, Lane] = {self._lane.generation: self._lane}
        """By generation, the secured ones too."""
        self._by_channel: dict[int, Lane] = {CONSUME_CHANNEL: self._lane}
        self._channels = itertools.cycle(range(FIRST_FREE_CHANNEL, MAX_CHANNEL + 1))
        self._by_consumer: dict[str, Feed] = {}
        self._numbers = itertools.count(1)
        self._refusing: set[str] = set()
        """Queues that know no `consumer_timeout` of their consumers."""

    def begin(self, feeds: dict[str, Feed]) -> None:
        """Start with these feeds, by queue, on a new channel."""
        self.feeds = feeds
        self.void_all()

    def void_all(self) -> None:
        """Every tag there was is void, because the connection is gone or left."""
        self._lanes.clear()
        self._by_channel.clear()
        self._by_consumer.clear()
        for feed in self.feeds.values():
            feed.buffer.clear()
            feed.reset()
        self._begin_lane(CONSUME_CHANNEL)

    def void(self, channel: int) -> list[Held] | None:
        """RabbitMQ has closed a channel; return what it took back with it, None for a channel that is not of the intake."""
        lane = self._by_channel.get(channel)
        if lane is None:
            return None
        self._forget(lane)
        for feed in self.feeds.values():
            feed.forget(channel)
        if lane is self._lane:
            self._by_consumer.clear()
            for feed in self.feeds.values():
                feed.reset()
            self._begin_lane(channel)
        return list(lane.held.values())

    def _begin_lane(self, channel: int) -> None:
        lane = self._lane = Lane(channel, next(self._generations))
        self._lanes[lane.generation] = self._by_channel[channel] = lane

    def _forget(self, lane: Lane) -> None:
        del self._lanes[lane.generation], self._by_channel[lane.channel]

    # -- messages in --------------------------------------------------------------------------------------------------

    def on_delivered(self, event: Delivered, now: float) -> bool:
        """Take in a message; False for one of an earlier generation, which RabbitMQ has back already."""
        feed = self._by_consumer.get(event.consumer)
        lane = self._by_channel.get(event.channel)
        if feed is None or lane is None:
            return False
        lane.held[event.delivery_tag] = Held(event, feed, now)
        feed.on_delivered(event, now)
        return True

    def on_cancelled(self, consumer: str) -> Feed | None:
        """Note that RabbitMQ ended a consumer; return its feed."""
        feed = self._by_consumer.get(consumer)
        if feed is not None:
            feed.windows.pop(consumer, None)
            feed.must_exist = True
        return feed

    def take(self, limit: int) -> list[Delivery]:
        """Claim up to `limit` messages of what is here, the queues taking turns."""
        busy = [feed for feed in self.feeds.values() if feed.buffer]
        if not busy:
            return []
        if len(busy) == 1:
            (feed,) = busy
            return [self._claim(feed) for _ in range(min(limit, len(feed.buffer)))]
        claimed: list[Delivery] = []
        while busy and len(claimed) < limit:
            for feed in list(busy)[: limit - len(claimed)]:
                claimed.append(self._claim(feed))
                if not feed.buffer:
                    busy.remove(feed)
        # Another begins the next time: else, with a limit of 1, the first queue would be served alone.
        first = next(iter(self.feeds))
        self.feeds[first] = self.feeds.pop(first)
        return claimed

    def _claim(self, feed: Feed) -> Delivery:
        event, _ = feed.buffer.popleft()
        return to_delivery(event, feed.queue, self._tag(event))

    def _tag(self, event: Delivered) -> Tag:
        return self._by_channel[event.channel].generation, event.delivery_tag

    def unclaimed(self, feed: Feed) -> list[Tag]:
        """Take everything out of a feed's buffer, to be given back."""
        tags = [self._tag(event) for event, _ in feed.buffer]
        feed.buffer.clear()
        return tags

    # -- messages out -------------------------------------------------------------------------------------------------

    def find(self, tag: Tag) -> Held | None:
        """Return what a tag stands for, None when it is not ours (any more)."""
        lane = self._lanes.get(tag[0])
        return lane.held.get(tag[1]) if lane is not None else None

    def tags(self) -> list[Tag]:
        """Return the tags of all that is held."""
        return [(lane.generation, number) for lane in self._lanes.values() for number in lane.held]

    def settle(self, connection: AsyncConnection, made: Frames, tags: Iterable[Tag]) -> None:
        """Write the frames that settle these deliveries, which are not held from here on; those that are not ours are left out."""
        by_lane: dict[int, list[int]] = {}
        for generation, number in tags:
            by_lane.setdefault(generation, []).append(number)
        for generation, numbers in by_lane.items():
            lane = self._lanes.get(generation)
            if lane is None:
                continue
            connection.send_frames(lane.settling(made, numbers))
            self._close_if_through(connection, lane)

    def _close_if_through(self, connection: AsyncConnection, lane: Lane) -> None:
        if lane.secured and not lane.held:
            self._forget(lane)
            connection.post(lane.channel, [methods.channel_close()])

    def channels(self) -> list[int]:
        """Return the channels that are in use."""
        return list(self._by_channel)

    # -- claims that take long ----------------------------------------------------------------------------------------

    def has_older(self, since: float) -> bool:
        """Tell whether something came before that moment (of the loop's clock) and is neither settled nor secured."""
        oldest = self._lane.oldest_since
        return oldest is not None and oldest < since

    async def secure(self, connection: AsyncConnection) -> int:
        """Move on to another channel and secure what is held on this one; return how much that is, 0 when there is no channel left."""
        async with connection.lock(CONSUME_CHANNEL):
            channel = self._free_channel(connection.channel_max)
            lane = self._lane
            if channel is None:
                return 0
            consumers = [consumer for feed in self.feeds.values() for consumer in feed.windows]
            for feed in self.feeds.values():
                feed.windows.clear()
            await self._cancel(connection, consumers)
            if lane is not self._lane:  # closed meanwhile
                return 0
            self._begin_lane(channel)
        # In one go: nothing may be settled in between, outside of what the lane knows as its transaction.
        connection.post(lane.channel, [methods.tx_select()])
        connection.send_frames(lane.securing())
        self._close_if_through(connection, lane)
        return len(lane.held)

    def _free_channel(self, highest: int) -> int | None:
        # In turn, so that none is opened again before its end has been answered.
        for _ in range(FIRST_FREE_CHANNEL, MAX_CHANNEL + 1):
            channel = next(self._channels)
            if channel <= highest and channel not in self._by_channel:
                return channel
        return None

    # -- prefetch windows ---------------------------------------------------------------------------------------------

    async def widen(self, connection: AsyncConnection, topology: Topology, limit: int) -> None:
        """See that RabbitMQ may send `limit` messages of each queue, and not many times that."""
        now = asyncio.get_running_loop().time()
        for feed in self.feeds.values():
            if now < feed.away_until or not (self._missing(feed, limit) or feed.is_too_wide(limit)):
                continue
            try:
                await self._fit(connection, topology, feed, limit)
            except ChannelError as error:
                if not error.queue_is_away:
                    raise
                feed.away_until = now + AWAY_PAUSE_S  # the others go on meanwhile
                _log.warning("nothing can be claimed from queue %r: %s", feed.queue, error)

    async def _fit(self, connection: AsyncConnection, topology: Topology, feed: Feed, limit: int) -> None:
        if feed.must_exist:
            await connection.run(topology.ensure_queue(feed.queue))
            feed.must_exist = False
        if feed.is_too_wide(limit) or feed.is_crowded():
            await self.cancel(connection, feed)
        async with connection.lock(CONSUME_CHANNEL):
            size = min(self._missing(feed, limit), _MAX_PREFETCH)
            if not size or self.feeds.get(feed.queue) is not feed:  # it may have been cancelled meanwhile
                return
            lane = self._lane
            consumer = f"{lane.generation}.{next(self._numbers)}"
            # Known before it is asked for: its messages may come even if whoever claims is cancelled meanwhile.
            feed.windows[consumer] = Window(size)
            feed.last_news = asyncio.get_running_loop().time()
            self._by_consumer[consumer] = feed
            arguments = feed.arguments
            if feed.queue not in self._refusing and consumer_timeout.takes_argument(connection.server):
                arguments = {**consumer_timeout.CONSUMER_ARGUMENTS, **(arguments or {})}
            consume = methods.basic_consume(feed.queue, consumer, arguments=arguments)
            try:
                await connection.call(lane.channel, [methods.basic_qos(size), consume])
            except ChannelError as error:
                if consumer_timeout.ARGUMENT not in error.text:
                    raise
                self._refusing.add(feed.queue)  # a classic queue: the next claim asks without it

    def _missing(self, feed: Feed, limit: int) -> int:
        missing = feed.missing(limit)
        if feed.most is None or not missing:
            return missing
        held = sum(held.feed is feed for lane in self._lanes.values() for held in lane.held.values())
        return max(0, min(missing, feed.most - held - feed.room()))

    async def cancel(self, connection: AsyncConnection, feed: Feed) -> None:
        """Let nothing more come of a queue; returns when nothing more can."""
        async with connection.lock(CONSUME_CHANNEL):
            consumers = list(feed.windows)
            feed.windows.clear()
            await self._cancel(connection, consumers)

    async def _cancel(self, connection: AsyncConnection, consumers: Sequence[str]) -> None:
        if consumers:
            await connection.call(self._lane.channel, [methods.basic_cancel(consumer) for consumer in consumers])
        for consumer in consumers:  # all that had been on its way is here
            self._by_consumer.pop(consumer, None)
