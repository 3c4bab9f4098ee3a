"""What RabbitMQ hands to one worker, and what of it is not settled yet."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from celeriac.brokers.amqp.feed import Feed, Window
from celeriac.brokers.amqp.incoming import to_delivery
from celeriac.core.message import Delivery
from celeriac.transports.amqp.aio import CONSUME_CHANNEL, AsyncConnection
from celeriac.transports.amqp.protocol import methods
from celeriac.transports.amqp.protocol.events import Delivered
from celeriac.transports.amqp.topology import Topology

_MAX_PREFETCH: Final = 65_535

Tag = tuple[int, int]
"""Generation of the channel, delivery tag in it."""
_Frames = Callable[[int, Collection[int], Iterable[int]], list[bytes]]


class Held(Struct):
    """A message that RabbitMQ has handed us and that is not settled, claimed or not."""

    event: Delivered
    feed: Feed


class Intake:
    """The consuming channel's account.

    1. Keeps one feed per queue, as wide as is asked for, and takes from them in turn.
    2. Knows all that is held, and makes the frames that settle some of it.
    3. Counts the generations of the channel: what was held in an earlier one is RabbitMQ's again.
    """

    def __init__(self) -> None:
        self.feeds: dict[str, Feed] = {}
        self.generation = 0
        self.held: dict[int, Held] = {}
        """By delivery tag, ascending."""
        self._by_consumer: dict[str, Feed] = {}
        self._numbers = itertools.count(1)

    def begin(self, queues: Sequence[str], limits: Mapping[str, int], arguments: Mapping[str, dict[str, Any]]) -> None:
        """Start with these queues, on a new channel.

        `limits`: most messages of some queues that may be held at once; `arguments`: of some queues' consumers.
        """
        self.feeds = {queue: Feed(queue, limits.get(queue), arguments.get(queue)) for queue in queues}
        self.void_all()

    def void_all(self) -> None:
        """Begin a new generation, in which every tag of the old one is void."""
        self.generation += 1
        self.held.clear()
        self._by_consumer.clear()
        for feed in self.feeds.values():
            feed.reset()

    # -- messages in --------------------------------------------------------------------------------------------------

    def on_delivered(self, event: Delivered, now: float) -> bool:
        """Take in a message; False for one of an earlier generation, which RabbitMQ has back already."""
        feed = self._by_consumer.get(event.consumer)
        if feed is None:
            return False
        self.held[event.delivery_tag] = Held(event, feed)
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
        return to_delivery(event, feed.queue, (self.generation, event.delivery_tag))

    # -- messages out -------------------------------------------------------------------------------------------------

    def find(self, tag: Tag) -> Held | None:
        """Return what a tag stands for, None when it is not ours (any more)."""
        generation, number = tag
        return self.held.get(number) if generation == self.generation else None

    def settling(self, frames: _Frames, numbers: Sequence[int]) -> list[bytes]:
        """Return the frames that settle these deliveries, which are not held from here on."""
        numbers = [number for number in numbers if number in self.held]
        made = frames(CONSUME_CHANNEL, numbers, self.held)
        for number in numbers:
            held = self.held.pop(number)
            held.feed.on_settled(held.event.consumer)
        return made

    # -- prefetch windows ---------------------------------------------------------------------------------------------

    async def widen(self, connection: AsyncConnection, topology: Topology, limit: int) -> None:
        """See that RabbitMQ may send `limit` messages of each queue, and not many times that."""
        for feed in self.feeds.values():
            if self._missing(feed, limit) or feed.is_too_wide(limit):
                await self._fit(connection, topology, feed, limit)

    async def _fit(self, connection: AsyncConnection, topology: Topology, feed: Feed, limit: int) -> None:
        if feed.must_exist:
            await connection.run(topology.ensure_queue(feed.queue))
            feed.must_exist = False
        if feed.is_too_wide(limit) or feed.is_crowded():
            await self.cancel(connection, feed)
        async with connection.lock(CONSUME_CHANNEL):
            size = min(self._missing(feed, limit), _MAX_PREFETCH)
            if not size:
                return
            consumer = f"{self.generation}.{next(self._numbers)}"
            # Known before it is asked for: its messages may come even if whoever claims is cancelled meanwhile.
            feed.windows[consumer] = Window(size)
            feed.last_news = asyncio.get_running_loop().time()
            self._by_consumer[consumer] = feed
            consume = methods.basic_consume(feed.queue, consumer, arguments=feed.arguments)
            await connection.call(CONSUME_CHANNEL, [methods.basic_qos(size), consume])

    def _missing(self, feed: Feed, limit: int) -> int:
        missing = feed.missing(limit)
        if feed.most is None or not missing:
            return missing
        held = sum(held.feed is feed for held in self.held.values())
        return max(0, min(missing, feed.most - held - feed.room()))

    async def cancel(self, connection: AsyncConnection, feed: Feed) -> None:
        """Let nothing more come of a queue; returns when nothing more can."""
        async with connection.lock(CONSUME_CHANNEL):
            consumers = list(feed.windows)
            feed.windows.clear()
            if consumers:
                await connection.call(CONSUME_CHANNEL, [methods.basic_cancel(consumer) for consumer in consumers])
