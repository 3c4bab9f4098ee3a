"""Real Celery and Celeriac's broker code share RabbitMQ."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.transport.native_delayed_delivery import (
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
)

from celeriac.backends.rpc import RpcBackend
from celeriac.brokers.amqp.broker import AmqpBroker
from celeriac.core.effects import ACK, Record, Settlement
from celeriac.core.message import Delivery, Message
from celeriac.core.settings import make_settings
from tests.services import PrivateRabbit

DEADLINE_S = 30.0


@pytest.fixture
def celery_app(rabbit_url: str) -> Iterator[Celery]:
    app = Celery("other", broker=rabbit_url, backend="rpc://", set_as_current=False)
    app.conf.update(task_default_queue_type="quorum", worker_detect_quorum_queues=True, broker_pool_limit=2)

    @app.task(name="other.add")
    def add(a: int, b: int) -> int:
        return a + b

    yield app
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Celery leaves sockets to the garbage collector
        if app.backend.result_consumer._consumer is not None:
            app.backend.result_consumer.stop()
        app.producer_pool.force_close_all()
        app.pool.force_close_all()
        app.close()
        gc.collect()


async def claim_one(url: str, queue: str = "celery") -> tuple[Any, Delivery]:
    consumer = AmqpBroker(url, make_settings({})).consumer()
    await consumer.open("worker", [queue])
    until = time.monotonic() + DEADLINE_S
    while not (claimed := await consumer.claim(1, 0.5)):
        assert time.monotonic() < until
    return consumer, claimed[0]


def test_a_call_by_celery_is_claimed_and_its_result_reaches_celery(rabbit_url: str, celery_app: Celery) -> None:
    writer = RpcBackend(make_settings({"broker_url": rabbit_url})).writer()

    async def serve() -> None:
        consumer, delivery = await claim_one(rabbit_url)
        message = delivery.message
        assert message is not None
        assert message.task == "other.add"
        args, _, _ = json.loads(message.body)
        result = {"status": "SUCCESS", "result": sum(args), "traceback": None, "children": [], "task_id": message.id}
        record = Record(message.id, "SUCCESS", json.dumps(result).encode(), None, message.properties["reply_to"])
        await writer.store([record])
        assert not await consumer.settle([Settlement(delivery.tag, ACK)])
        await writer.close()
        await consumer.close()

    serving = threading.Thread(target=lambda: asyncio.run(serve()))
    serving.start()
    assert celery_app.send_task("other.add", (2, 3)).get(timeout=DEADLINE_S) == 5
    serving.join()


@pytest.mark.parametrize("first", ["celery", "celeriac"])
def test_both_declare_the_same_delay_levels(rabbit_server: PrivateRabbit, first: str) -> None:
    rabbit_url = rabbit_server.fresh_url()
    exchange = Exchange("topics", type="topic")
    queue = Queue("celery", exchange, routing_key="celery", queue_arguments={"x-queue-type": "quorum"})

    def by_celery() -> None:
        with Connection(rabbit_url) as connection:
            declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
            queue(connection).declare()
            bind_queue_to_native_delayed_delivery_exchange(connection, queue)

    def by_celeriac() -> None:
        producer = AmqpBroker(rabbit_url, make_settings({})).producer()
        producer.publish([Message("celery", {"id": "1", "task": "t"}, b"", not_before=time.time() + 1)], DEADLINE_S)
        producer.close()

    for declare in (by_celery, by_celeriac) if first == "celery" else (by_celeriac, by_celery):
        declare()

    async def comes_once() -> None:
        consumer, delivery = await claim_one(rabbit_url)
        assert delivery.message is not None
        assert delivery.message.id == "1"
        assert not await consumer.settle([Settlement(delivery.tag, ACK)])
        assert await consumer.claim(1, 0.5) == [], "two ways lead to the queue, but one message comes"
        await consumer.close()

    asyncio.run(comes_once())
