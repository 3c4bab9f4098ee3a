"""Leases on Redis: what happens when workers die, sleep, or lose their server, at the worst moments."""

from __future__ import annotations

import asyncio
import json

import pytest
import redis

from celeriac.brokers.redis.consumer import RedisConsumer
from celeriac.brokers.redis.housekeeping import count_loss
from celeriac.core.effects import ACK, REQUEUE, Dead, Lost, Record, Settlement
from celeriac.core.message import Delivery
from celeriac.testing.broker_base import QUEUE, ids, make_message, make_messages
from celeriac.transports.redis.connection import Connection
from tests.brokers.redis_worker import DEADLINE_S, claim_all, opened, publish, redis_broker, until_true


async def lapse(redis_url: str, consumer: RedisConsumer) -> None:
    """Let a lease run out, as if the worker had slept; tests need not wait for it."""
    with redis.Redis.from_url(redis_url) as client:
        (lease,) = [name for name in client.zrange("celeriac:workers", 0, -1) if name == lease_of(consumer)]
        client.zadd("celeriac:workers", {lease: 1.0})


def lease_of(consumer: RedisConsumer) -> bytes:
    return consumer._lease.encode()


def test_a_worker_that_slept_changes_nothing_afterwards(redis_url: str) -> None:
    message, follow_up, delayed = make_message(), make_message("after"), make_message("after", not_before=4e9)
    record = Record(message.id, "SUCCESS", b'{"status": "SUCCESS"}', 60.0)
    publish(redis_url, [message])

    async def scenario() -> None:
        settings = {"result_backend": redis_url}
        async with opened(redis_url, **settings) as slow, opened(redis_url, **settings) as other:
            (late,) = await claim_all(slow, 1)
            await lapse(redis_url, slow)
            (taken,) = await claim_all(other, 1)
            assert (taken.message and taken.message.id, taken.losses) == (message.id, 1)
            for verdict in (ACK, REQUEUE, Dead("late")):
                settlement = Settlement(late.tag, verdict, [follow_up, delayed], [record])
                assert await slow.settle([settlement]) == [Lost(late.tag)]
            assert await slow.claim(1, 0.0) == []
            assert not await slow.heartbeat()
            assert await slow.heartbeat()
            assert await slow.settle([Settlement(late.tag, ACK)]) == [Lost(late.tag)]
            with redis.Redis.from_url(redis_url) as client:
                assert not client.exists(
                    "after", "celeriac:delayed:after", f"celery-task-meta-{message.id}", f"celeriac:dead:{QUEUE}", QUEUE
                )
            assert await other.settle([Settlement(taken.tag, ACK)]) == []

    asyncio.run(scenario())


def test_a_lease_that_ran_out_unnoticed_is_simply_renewed(redis_url: str) -> None:
    publish(redis_url, make_messages(2))

    async def scenario() -> None:
        async with opened(redis_url) as consumer:
            first = await claim_all(consumer, 1)
            await lapse(redis_url, consumer)
            assert await consumer.claim(1, 0.0) == []  # not in force
            assert await consumer.heartbeat()
            second = await consumer.claim(1, 1.0)
            assert await consumer.settle([Settlement(delivery.tag, ACK) for delivery in first + second]) == []

    asyncio.run(scenario())


def test_a_half_done_takeover_is_finished_by_the_next_worker(redis_url: str) -> None:
    messages = make_messages(50)
    publish(redis_url, messages)

    async def scenario() -> None:
        async with opened(redis_url) as lost:
            claimed = await claim_all(lost, 50)
            await lapse(redis_url, lost)
            await half_a_takeover(redis_url, lost, claimed[30:])
            # The worker wakes now: what has been taken is lost, what has not is still good.
            assert await lost.settle([Settlement(delivery.tag, ACK) for delivery in claimed[25:35]]) == [
                Lost(delivery.tag) for delivery in claimed[30:35]
            ]
            assert await lost.claim(50, 0.0) == []
            assert not await lost.heartbeat()
        async with opened(redis_url) as other:
            rest = await claim_all(other, 45)
            assert ids(rest) == ids(messages[:25] + messages[30:])
            assert [delivery.losses for delivery in rest] == [1] * 45
            with redis.Redis.from_url(redis_url) as client:
                assert not client.exists(f"celeriac:claims:{lost._owner}")
                assert client.zscore("celeriac:workers", lost._owner) is None

    asyncio.run(scenario())


async def half_a_takeover(redis_url: str, lost: RedisConsumer, claimed: list[Delivery]) -> None:
    """Fence a lease and give back some of its claims, then die."""
    connection = await Connection.connect(lost._address, DEADLINE_S)
    assert await connection.run_surely(connection.scripts.fence, ["celeriac:workers"], 100) == [lease_of(lost)]
    claims = f"celeriac:claims:{lost._lease}"
    for delivery in reversed(claimed):
        envelope, _ = count_loss(await connection.call("HGET", claims, delivery.tag))
        words = lost._settling.returned(delivery.tag, envelope)
        keys = [claims, "celeriac:queues"]
        assert await connection.run_surely(connection.scripts.settle, keys, *lost._settling.head, *words) == []
    connection.close()


def test_many_takers_at_once_give_each_message_back_once(redis_url: str) -> None:
    messages = make_messages(300)
    publish(redis_url, messages)

    async def scenario() -> None:
        async with opened(redis_url, "a") as one, opened(redis_url, "b") as two, opened(redis_url, "c") as three:
            async with opened(redis_url) as lost:
                await claim_all(lost, 300)
                await lapse(redis_url, lost)
            await asyncio.gather(*(taker.maintain() for taker in (one, two, three) for _ in range(3)))
        async with opened(redis_url) as last:
            claimed = await claim_all(last, 300)
            assert sorted(ids(claimed)) == sorted(ids(messages))
            assert {delivery.losses for delivery in claimed} == {1}
            assert await last.claim(1, 0.0) == []

    asyncio.run(scenario())


def test_what_comes_back_is_marked_as_celery_marks_it_and_else_unchanged(redis_url: str) -> None:
    publish(redis_url, [make_message()])
    with redis.Redis.from_url(redis_url) as client:
        before = json.loads(client.lindex(QUEUE, 0))

        async def scenario() -> None:
            async with opened(redis_url) as lost, opened(redis_url, "elsewhere") as taker:
                await claim_all(lost, 1)
                await lapse(redis_url, lost)
                await taker.maintain()

        asyncio.run(scenario())
        after = json.loads(client.lindex(QUEUE, 0))
    before["headers"] |= {"celeriac_losses": 1, "redelivered": True}
    before["properties"]["delivery_info"]["redelivered"] = True
    assert after == before
    assert list(after) == list(before)


@pytest.mark.parametrize("raw", [b"no json", b"[" * 100_000, b'{"headers": []}', b"\xff\xfe", b"null"])
def test_bytes_that_cannot_be_counted_come_back_unchanged(redis_url: str, raw: bytes) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.lpush(QUEUE, raw)

        async def scenario() -> None:
            async with opened(redis_url) as lost, opened(redis_url, "elsewhere") as taker:
                (claimed,) = await claim_all(lost, 1)
                assert (claimed.message, claimed.raw) == (None, raw)
                assert claimed.problem
                await lapse(redis_url, lost)
                await taker.maintain()

        asyncio.run(scenario())
        assert client.lrange(QUEUE, 0, -1) == [raw]


def test_a_worker_that_came_back_lets_the_others_renew_first(redis_url: str) -> None:
    publish(redis_url, make_messages(1))

    async def scenario() -> None:
        async with opened(redis_url, worker_lease_s=600.0) as back, opened(redis_url) as living:
            (claimed,) = await claim_all(living, 1)
            assert back._connection is not None
            back._connection.close()
            await back.heartbeat()  # connects again
            await lapse(redis_url, living)  # as after an outage of the server
            await back.maintain()
            assert await living.heartbeat()
            assert await living.settle([Settlement(claimed.tag, ACK)]) == []

    asyncio.run(scenario())


def test_an_answer_that_got_lost_with_the_connection_is_found(redis_url: str) -> None:
    """The server has executed the claim, and the connection breaks before the worker hears of it."""
    messages = make_messages(20)
    publish(redis_url, messages)

    async def scenario() -> None:
        async with opened(redis_url, worker_lease_s=60.0) as consumer:
            known = await consumer.claim(5, 1.0)
            with redis.Redis.from_url(redis_url) as client:
                claiming = asyncio.create_task(consumer.claim(10, 1.0))
                await asyncio.sleep(0)  # sent, and this loop does not read before the connection is gone
                while client.hlen(f"celeriac:claims:{consumer._lease}") < 15:
                    pass
            assert consumer._connection is not None
            consumer._connection.close()
            with pytest.raises(Exception, match="it was closed"):
                await claiming
            found = await consumer.claim(100, 1.0)
            assert ids(known + found) == ids(messages[:15])
            rest = await consumer.claim(100, 1.0)
            everything = known + found + rest
            assert await consumer.settle([Settlement(delivery.tag, ACK) for delivery in everything]) == []

    asyncio.run(scenario())


def test_cancelling_claims_at_any_moment_loses_nothing(redis_url: str) -> None:
    messages = make_messages(400)
    producer = redis_broker(redis_url).producer()

    async def scenario() -> None:
        async with opened(redis_url, worker_lease_s=60.0) as consumer:
            claimed: list[Delivery] = []
            connection = consumer._connection
            for number in range(200):
                claiming = asyncio.create_task(consumer.claim(2, 5.0))
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                producer.publish(messages[2 * number : 2 * number + 2], DEADLINE_S)
                for _ in range(number % 5):
                    await asyncio.sleep(0)
                claiming.cancel()
                try:
                    claimed += await claiming
                except asyncio.CancelledError:
                    pass
            claimed += await claim_all(consumer, 400 - len(claimed))
            assert sorted(ids(claimed)) == sorted(ids(messages))
            assert consumer._connection is connection, "no connection was given up for it"
            assert await consumer.settle([Settlement(delivery.tag, ACK) for delivery in claimed]) == []

    asyncio.run(scenario())
    producer.close()


def test_nothing_of_ours_is_left_when_all_is_done(redis_url: str) -> None:
    publish(redis_url, make_messages(10))

    async def scenario() -> None:
        async with opened(redis_url) as consumer:
            claimed = await claim_all(consumer, 10)
            await consumer.settle([Settlement(delivery.tag, ACK) for delivery in claimed])
            await consumer.release()

    asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        assert sorted(client.keys("*")) == sorted(
            [b"celeriac:queues", f"_kombu.binding.{QUEUE}".encode(), f"_kombu.binding_permanent.{QUEUE}".encode()]
        )


def test_dead_letters_and_revocations_end(redis_url: str) -> None:
    publish(redis_url, make_messages(1))

    async def scenario() -> None:
        async with opened(redis_url, dead_letter_expires_s=1.0) as consumer:
            (claimed,) = await claim_all(consumer, 1)
            await consumer.settle([Settlement(claimed.tag, Dead("no reason"))])
            with redis.Redis.from_url(redis_url) as client:
                assert client.hlen(f"celeriac:dead:{QUEUE}") == 1
                keys = [f"celeriac:dead:{QUEUE}", f"celeriac:dead-times:{QUEUE}"]
                assert all(client.ttl(key) > 0 for key in keys)
                # An old letter that a younger one outlives is dropped by the house.
                client.hset(keys[0], "old", "1:q3:why2:{}")
                client.zadd(keys[1], {"old": 1.0})
                for key in keys:
                    client.persist(key)

                async def dropped() -> bool:
                    consumer._housekeeping._expire_from = 0.0
                    await consumer.maintain()
                    return not client.exists(*keys)

                await until_true(dropped, "dead letters are dropped")

    asyncio.run(scenario())
