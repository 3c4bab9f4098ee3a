"""Queues shared with Celery: its senders' messages reach our workers, and ours its workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import celery
import kombu
import pytest
import redis

from celeriac.core.effects import ACK, REQUEUE, Settlement
from celeriac.testing.broker_base import ids, make_message, make_messages
from tests.brokers.redis_worker import claim_all, opened, publish, redis_broker

OPTIONS = {"global_keyprefix": "shop:", "sep": "::", "priority_steps": [0, 5]}


@pytest.fixture(params=[{}, OPTIONS], ids=["plain", "options"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


@pytest.fixture
def celery_app(redis_url: str, options: dict[str, Any]) -> Iterator[celery.Celery]:
    app = celery.Celery("shop", broker=redis_url, set_as_current=False)
    app.conf.broker_transport_options = options
    yield app
    app.close()


def test_celerys_messages_are_claimed(celery_app: celery.Celery, redis_url: str, options: dict[str, Any]) -> None:
    sent = [
        celery_app.send_task("shop.charge", (number,), {"to": "ä"}, priority=priority, queue="money").id
        for number, priority in enumerate([7, 0, 3])
    ]

    async def scenario() -> None:
        async with opened(redis_url, "money", broker_transport_options=options) as consumer:
            claimed = await claim_all(consumer, 3)
            assert ids(claimed) == [sent[1], sent[2], sent[0]]
            (message,) = [
                delivery.message for delivery in claimed if delivery.message and delivery.message.id == sent[0]
            ]
            assert message.task == "shop.charge"
            assert json.loads(message.body)[:2] == [[0], {"to": "ä"}]
            assert not await consumer.settle([Settlement(delivery.tag, ACK) for delivery in claimed])

    asyncio.run(scenario())


def test_a_celery_sender_rings_the_bell(celery_app: celery.Celery, redis_url: str, options: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with opened(redis_url, "money", broker_transport_options=options, worker_lease_s=60.0) as consumer:
            assert await consumer.claim(1, 0.1) == []
            rings = asyncio.create_task(consumer.claim(1, 60))
            task_id = (await asyncio.to_thread(celery_app.send_task, "shop.charge", queue="money")).id
            assert ids(await rings) == [task_id]

    asyncio.run(scenario())


def test_kombu_reads_what_we_publish(redis_url: str, options: dict[str, Any]) -> None:
    urgent, other = make_message("money", priority=0), make_message("money", priority=9)
    publish(redis_url, [other, urgent], broker_transport_options=options)
    bodies: list[tuple[str, Any, int]] = []

    def on_message(body: Any, message: kombu.Message) -> None:
        bodies.append((message.headers["id"], body, message.properties["priority"]))
        message.ack()

    with kombu.Connection(redis_url, transport_options=options) as connection:
        with connection.Consumer([kombu.Queue("money")], callbacks=[on_message], accept=["json"]):
            while len(bodies) < 2:
                connection.drain_events(timeout=10)
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert bodies == [(urgent.id, [[], {}, embed], 0), (other.id, [[], {}, embed], 9)]


def test_what_is_given_back_is_next_for_kombu(redis_url: str) -> None:
    first, second = make_messages(2, "money")
    publish(redis_url, [first, second])

    async def scenario() -> None:
        async with opened(redis_url, "money") as consumer:
            (claimed,) = await consumer.claim(1, 1)
            await consumer.settle([Settlement(claimed.tag, REQUEUE)])

    asyncio.run(scenario())
    with kombu.Connection(redis_url) as connection:
        queue = connection.SimpleQueue("money")
        assert queue.get(timeout=10).headers["id"] == first.id
        queue.close()


def test_declared_queues_are_bound_as_celery_binds_them(redis_url: str) -> None:
    admin = redis_broker(redis_url).admin()
    admin.declare(["money", "celery"])
    admin.close()
    with kombu.Connection(redis_url) as connection:
        ours = connection.default_channel.get_table("money")
        assert ours == [("money", "", "money")]
    with redis.Redis.from_url(redis_url) as client:
        assert client.smembers("_kombu.binding_permanent.celery") == {b"celery\x06\x16\x06\x16celery"}


def test_queues_that_only_celery_has_declared_are_known(redis_url: str) -> None:
    with kombu.Connection(redis_url) as connection:
        exchange = kombu.Exchange("celery", type="direct")
        kombu.Queue("theirs", exchange, routing_key="theirs").bind(connection.default_channel).declare()
    admin = redis_broker(redis_url).admin()
    assert admin.queues() == ["theirs"]
    admin.close()
