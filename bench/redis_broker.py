"""Figures of the Redis broker on a private Redis: python -m bench.redis_broker

Throughput of claim and settle by batch size, of publishing, and the latency of the doorbell beside BRPOP's.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import redis
import redis.asyncio

from celeriac.brokers.redis import RedisBroker
from celeriac.brokers.redis.consumer import RedisConsumer
from celeriac.core.effects import ACK, Settlement
from celeriac.core.settings import make_settings
from celeriac.testing.broker_base import make_message, make_messages
from tests.services import PrivateRedis

QUEUE = "bench"
TASKS = 20_000
RINGS = 500


def publish_rates(broker: RedisBroker, url: str) -> None:
    producer = broker.producer()
    client = redis.Redis.from_url(url)
    messages = make_messages(TASKS, QUEUE)
    producer.publish(messages[:1], 5)
    envelope = client.lindex(QUEUE, 0) or b""

    def rate(work: Callable[[], None]) -> float:
        begin = time.perf_counter()
        work()
        return TASKS / (time.perf_counter() - begin)

    def one_by_one() -> None:
        for message in messages:
            producer.publish([message], 5)

    def bare() -> None:
        for _ in messages:
            client.lpush("bare", envelope)

    def batches() -> None:
        for start in range(0, TASKS, 100):
            producer.publish(messages[start : start + 100], 5)

    print(f"publish one by one     {rate(one_by_one):>10,.0f}/s")
    print(f"bare redis-py LPUSH    {rate(bare):>10,.0f}/s")
    print(f"publish batches of 100 {rate(batches):>10,.0f}/s")
    client.flushall()
    client.close()
    producer.close()


async def claim_rate(broker: RedisBroker, consumer: RedisConsumer, batch: int, tasks: int) -> None:
    producer = broker.producer()
    for start in range(0, tasks, 1000):
        producer.publish(make_messages(min(1000, tasks - start), QUEUE), 5)
    producer.close()
    claiming = settling = 0.0
    done = 0
    while done < tasks:
        begin = time.perf_counter()
        claimed = await consumer.claim(batch, 1)
        middle = time.perf_counter()
        assert not await consumer.settle([Settlement(delivery.tag, ACK) for delivery in claimed])
        claiming += middle - begin
        settling += time.perf_counter() - middle
        done += len(claimed)
    both = tasks / (claiming + settling)
    print(
        f"batches of {batch:<4} claim {tasks / claiming:>9,.0f}/s  settle {tasks / settling:>9,.0f}/s  both {both:>9,.0f}/s"
    )


async def latencies(send: Callable[[], None], receive: Callable[[], Awaitable[None]], name: str) -> None:
    """Measure from before the sending to after the receiving, with the receiver at rest before."""
    found = []
    for _ in range(RINGS):
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0.002)
        begin = time.perf_counter()
        send()
        await waiting
        found.append((time.perf_counter() - begin) * 1000)
    found.sort()
    middle, late = statistics.median(found), found[int(0.99 * len(found))]
    print(f"{name:<34} median {middle:.2f} ms  p99 {late:.2f} ms")


async def measure(broker: RedisBroker, url: str) -> None:
    consumer = broker.consumer()
    await consumer.open("bench@1", [QUEUE])
    for batch, tasks in ((1, 3000), (10, 10_000), (100, TASKS)):
        await claim_rate(broker, consumer, batch, tasks)
    producer = broker.producer()

    async def by_claim() -> None:
        (claimed,) = await consumer.claim(1, 10)
        ringing.append(claimed.tag)

    ringing: list[str] = []
    await latencies(lambda: producer.publish([make_message(QUEUE)], 5), by_claim, "doorbell and claim")
    await consumer.settle([Settlement(tag, ACK) for tag in ringing])

    async with redis.asyncio.Redis.from_url(url) as client:

        async def by_brpop() -> None:
            await client.brpop([QUEUE], 10)

        await latencies(lambda: producer.publish([make_message(QUEUE)], 5), by_brpop, "BRPOP (redis.asyncio)")
    producer.close()
    await consumer.release()
    await consumer.close()


def main() -> None:
    with PrivateRedis() as server:
        broker = RedisBroker(server.url, make_settings({}))
        publish_rates(broker, server.url)
        asyncio.run(measure(broker, server.url))


if __name__ == "__main__":
    main()
