"""What the Redis tests share: a worker's life around a consumer, and messages to give it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from celeriac.brokers.redis import RedisBroker
from celeriac.brokers.redis.consumer import RedisConsumer
from celeriac.core.message import Delivery, Message
from celeriac.core.settings import make_settings
from celeriac.testing.broker_base import QUEUE, SHORT_LEASE

DEADLINE_S = 30.0
_numbers = itertools.count(1)


def redis_broker(url: str, **settings: Any) -> RedisBroker:
    """A broker with short leases."""
    return RedisBroker(url, make_settings({**SHORT_LEASE, **settings}))


def publish(url: str, messages: Sequence[Message], **settings: Any) -> None:
    """Publish as a client does."""
    producer = redis_broker(url, **settings).producer()
    try:
        producer.publish(messages, DEADLINE_S)
    finally:
        producer.close()


@asynccontextmanager
async def opened(url: str, *queues: str, **settings: Any) -> AsyncIterator[RedisConsumer]:
    """A consumer, open for the time of an `async with` block; nothing renews its lease but the test."""
    consumer = redis_broker(url, **settings).consumer()
    await consumer.open(f"test@{next(_numbers)}", queues or [QUEUE])
    try:
        yield consumer
    finally:
        await consumer.close()


async def claim_all(consumer: RedisConsumer, count: int) -> list[Delivery]:
    """Claim exactly `count` messages, renewing the lease and keeping the house meanwhile."""
    claimed: list[Delivery] = []
    until = time.monotonic() + DEADLINE_S
    while len(claimed) < count:
        assert time.monotonic() < until, f"only {len(claimed)} of {count} messages came"
        await consumer.heartbeat()
        await consumer.maintain()
        claimed += await consumer.claim(count - len(claimed), 0.05)
    return claimed


async def until_true(condition: Callable[[], Awaitable[object]], what: str) -> None:
    """Wait until the condition holds."""
    until = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < until, f"not within {DEADLINE_S:g} s: {what}"
        await asyncio.sleep(0.02)
