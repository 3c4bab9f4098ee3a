"""Bindings stand in Redis as kombu writes them, and private queues go with their worker's lease."""

from __future__ import annotations

import asyncio
from typing import Any

import kombu
import pytest
import redis
from msgspec.structs import replace

from celeriac.brokers.redis import RedisBroker
from celeriac.brokers.redis.routing import topic_pattern
from celeriac.core.queues import Broadcast, Exchange, Queue
from celeriac.core.settings import make_settings
from celeriac.testing.broker_base import make_message


@pytest.mark.parametrize("key", ["a.#", "*.b", "video-1.*.x", "ä.b c", "#", "a#.b"])
def test_patterns_are_those_that_kombu_writes(redis_url: str, key: str) -> None:
    with kombu.Connection(redis_url) as connection, redis.Redis.from_url(redis_url) as client:
        kombu.Queue("q", kombu.Exchange("x", "topic"), key)(connection.channel()).declare()
        (member,) = client.smembers("_kombu.binding.x")
        assert member.decode() == f"{key}\x06\x16{topic_pattern(key)}\x06\x16q"


def test_declared_queues_are_bound_in_both_of_celerys_sets(redis_url: str) -> None:
    queues = [Queue("video", Exchange("media", "topic"), "video.#"), Queue("plain")]
    admin = RedisBroker(redis_url, make_settings({"task_queues": queues})).admin()
    admin.declare(["video", "plain"])
    admin.close()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        for table in ("binding", "binding_permanent"):
            assert client.smembers(f"_kombu.{table}.media") == {"video.#\x06\x16^video\\..*?$\x06\x16video"}
            assert client.smembers(f"_kombu.{table}.celery") == {"plain\x06\x16\x06\x16plain"}
        assert client.hgetall("celeriac:exchanges") == {"media": "topic", "celery": "direct"}


def test_a_dead_workers_own_queue_is_taken_away(redis_url: str) -> None:
    settings = {"task_queues": [Broadcast("all")], "worker_lease_s": 1.0, "worker_heartbeat_s": 0.2}
    broker = RedisBroker(redis_url, make_settings(settings))
    message = replace(make_message(""), exchange="all", routing_key="celery")

    async def scenario() -> None:
        dead, other = broker.consumer(), broker.consumer()
        await dead.open("dead@h", ["all"])
        await dead.publish([message])
        await other.open("other@h", ["all"])
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            assert client.llen("all.bcast.dead@h") == 1
            while client.hexists("celeriac:fanout:all", "all.bcast.dead@h"):
                await other.heartbeat()
                await other.maintain()
                await asyncio.sleep(0.05)
            assert client.keys("*dead@h*") == []
            assert client.hgetall("celeriac:fanout:all") == {"all.bcast.other@h": "other@h"}
            await other.release()
            assert not client.exists("celeriac:fanout:all", "_kombu.binding.all")
        await dead.close()
        await other.close()

    asyncio.run(scenario())


def test_celerys_subscribers_hear_a_fanout(redis_url: str) -> None:
    broker = RedisBroker(redis_url, make_settings({"task_queues": [Broadcast("all")]}))
    producer = broker.producer()
    with redis.Redis.from_url(redis_url) as client:
        heard: Any = client.pubsub(ignore_subscribe_messages=True)
        db = client.connection_pool.connection_kwargs["db"]
        heard.psubscribe(f"/{db}.all/*")
        heard.get_message(timeout=1)
        producer.publish([replace(make_message(""), exchange="all", routing_key="celery")], 5.0)
        found = None
        while found is None:
            found = heard.get_message(timeout=1)
        assert found["channel"].decode() == f"/{db}.all/celery"
        heard.close()
    producer.close()
