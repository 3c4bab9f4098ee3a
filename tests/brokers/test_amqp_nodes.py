"""Several URLs: each side goes to a node that is there, within its deadline."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator

import pytest

from celeriac.brokers.amqp.broker import AmqpBroker
from celeriac.core.effects import ACK, Settlement
from celeriac.core.message import Message
from celeriac.core.settings import make_settings
from celeriac.exceptions import BrokerUnavailable, ImproperlyConfigured, OperationalError, PublishTimeout
from celeriac.torture.servers.proxy import Proxy
from celeriac.transports.amqp.address import Address
from celeriac.transports.amqp.nodes import Nodes
from tests.services import PrivateRabbit, free_port

QUEUE = "nodes"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


def open_broker(url: str) -> AmqpBroker:
    settings = {"broker_connection_timeout": 0.5, "broker_native_delayed_delivery_queue_type": "classic"}
    return AmqpBroker(url, make_settings(settings))


def message(task_id: str) -> Message:
    return Message(QUEUE, {"id": task_id, "task": "t"}, b"[[], {}, {}]", {"correlation_id": task_id})


def hosts(nodes: Nodes) -> str:
    return "".join(address.host for address in nodes.in_turn())


def test_which_node_is_next() -> None:
    nodes = Nodes.of("amqp://u:secret@a;amqp://b ; amqp://c;")
    assert nodes.shown == "amqp://u:**@a;amqp://b;amqp://c"
    assert hosts(nodes) == "abc"
    first = nodes.first
    nodes.passed_over(first)
    nodes.passed_over(first)  # by somebody who had been there, too
    assert hosts(nodes) == "bca"
    asked: list[str] = []

    def refuse_two(address: Address, _deadline: float) -> str:
        asked.append(address.host)
        if len(asked) < 3:
            raise BrokerUnavailable("away")
        return asked[-1]

    assert nodes.connect(refuse_two, 1e12, 1.0) == "a"
    assert asked == ["b", "c", "a"]
    assert hosts(nodes) == "abc", "it stays with the one that was there"

    random.seed(1)
    shuffled = {hosts(Nodes.of("amqp://a;amqp://b;amqp://c", "shuffle")) for _ in range(100)}
    assert len(shuffled) == 6
    with pytest.raises(ImproperlyConfigured, match="none of RabbitMQ's"):
        Nodes.of("amqp://a;redis://b")


def test_every_side_finds_the_node_that_is_there(
    rabbit_server: PrivateRabbit, rabbit_url: str, silent_port: int
) -> None:
    with Proxy(rabbit_server.port) as first, Proxy(rabbit_server.port) as second:
        gone, silent = f"amqp://127.0.0.1:{free_port()}", f"amqp://127.0.0.1:{silent_port}"
        broker = open_broker(";".join([gone, silent, first.url(rabbit_url), second.url(rabbit_url)]))
        producer, admin = broker.producer(), broker.admin()

        async def scenario() -> None:
            consumer = broker.consumer()
            await consumer.open("worker", [QUEUE])
            producer.publish([message("one")], 5)
            admin.declare([QUEUE])
            assert second.connections == 0, "all stay with the first one that was there"
            first.swallow()  # what comes now finds it silent
            first.cut()
            with pytest.raises(OperationalError):
                while True:
                    await consumer.heartbeat()
                    await asyncio.sleep(0.01)
            try:
                producer.publish([message("two")], 5)
            except PublishTimeout:  # it noticed the cut as it was sending, which reached nobody
                producer.publish([message("two")], 5)
            admin.declare([QUEUE])
            await consumer.open("worker", [QUEUE])
            found: list[str] = []
            while len(found) < 2:
                for delivery in await consumer.claim(2, 1.0):
                    assert delivery.message is not None
                    found.append(delivery.message.id)
                    assert not await consumer.settle([Settlement(delivery.tag, ACK)])
            assert sorted(found) == ["one", "two"]
            await consumer.close()

        asyncio.run(scenario())
        assert second.connections > 0
        producer.close()
        admin.close()


def test_a_node_that_confirms_nothing_is_passed_over(rabbit_server: PrivateRabbit, rabbit_url: str) -> None:
    with Proxy(rabbit_server.port) as first, Proxy(rabbit_server.port) as second:
        producer = open_broker(f"{first.url(rabbit_url)};{second.url(rabbit_url)}").producer()
        producer.publish([message("one")], 5)
        first.kill_silently()
        with pytest.raises(BrokerUnavailable):
            producer.publish([message("two")], 0.5)
        producer.publish([message("two")], 5)
        assert second.connections == 1
        producer.close()


def test_no_node_is_there(silent_port: int) -> None:
    broker = open_broker(f"amqp://127.0.0.1:{free_port()};amqp://127.0.0.1:{silent_port}")
    with pytest.raises(BrokerUnavailable):
        broker.producer().publish([message("x")], 1)
    with pytest.raises(BrokerUnavailable):
        broker.admin().declare([QUEUE])
    with pytest.raises(BrokerUnavailable):
        asyncio.run(broker.consumer().open("worker", [QUEUE]))
