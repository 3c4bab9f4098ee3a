"""Somebody writes into Redis what is no name of ours: workers, programs and operators pass it over, and the house is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from celeriac.brokers.redis.names import divide, readable
from celeriac.core.effects import ACK, Settlement
from celeriac.core.message import Revocation
from celeriac.testing.broker_base import QUEUE, make_message, make_messages
from tests.brokers.redis_worker import claim_all, opened, publish, redis_broker
from tests.private_redis import as_default_user

NOT_UTF8 = b"\xff\xfe"


def test_names_are_told_from_what_is_none() -> None:
    assert divide([b"a", NOT_UTF8, "ž".encode(), b"", b"\xc3"]) == (["a", "ž", ""], [NOT_UTF8, b"\xc3"])
    assert readable([NOT_UTF8, b"a"]) == ["a"]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(as_default_user(redis_url)) as client:
        yield client


def scribble(client: redis.Redis) -> None:
    """Put what is no text wherever names stand."""
    client.sadd("celeriac:queues", NOT_UTF8, b"good")
    client.sadd("celeriac:fanouts", NOT_UTF8, b"all")
    client.hset("celeriac:fanout:all", NOT_UTF8, b"gone@lease")
    client.hset("celeriac:fanout:all", b"private", NOT_UTF8)
    client.sadd("_kombu.binding.celery", NOT_UTF8)
    client.zadd("celeriac:workers", {NOT_UTF8: 1.0})


def test_delays_and_takeovers_go_on_and_it_is_said_once(
    redis_url: str, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = make_message(not_before=time.time() + 0.2)
    publish(redis_url, [waiting, make_message()])

    async def scenario() -> None:
        async with opened(redis_url) as lost, opened(redis_url) as other:
            await claim_all(lost, 1)
            leases: Any = client.zrange("celeriac:workers", 0, -1)
            client.zadd("celeriac:workers", dict.fromkeys(leases, 1.0))
            for _ in range(3):
                scribble(client)
                await other.maintain()
            deliveries = await claim_all(other, 2)
            assert {delivery.losses for delivery in deliveries} == {0, 1}
            assert await other.settle([Settlement(delivery.tag, ACK) for delivery in deliveries]) == []

    asyncio.run(scenario())
    queues: Any = client.smembers("celeriac:queues")
    assert NOT_UTF8 not in queues
    assert b"good" in queues
    assert client.zscore("celeriac:workers", NOT_UTF8) is None
    told = [record.getMessage() for record in caplog.records if "no UTF-8" in record.getMessage()]
    assert len(told) == len(set(told))
    assert any("celeriac:queues in Redis has 1 names" in line for line in told)


def test_programs_and_operators_pass_it_over(redis_url: str, client: redis.Redis) -> None:
    scribble(client)
    client.hset("celeriac:exchanges", "ours", "direct")
    client.sadd("_kombu.binding.ours", NOT_UTF8, b"key\x06\x16\x06\x16bound")
    messages = make_messages(2)
    for message in messages:
        message.queue, message.exchange, message.routing_key = "", "ours", "key"
    publish(redis_url, messages)
    assert client.llen("bound") == 2
    delayed = make_message(not_before=4e9)
    publish(redis_url, [delayed])
    with closing(redis_broker(redis_url).admin()) as admin:
        assert {"good", "bound", QUEUE} <= set(admin.queues())
        assert [depth.ready for depth in admin.depths(["bound"])] == [2]
        revocation = Revocation(delayed.id, time.time() + 60)
        assert admin.withdraw_delayed([revocation], list, 30.0) == 1
