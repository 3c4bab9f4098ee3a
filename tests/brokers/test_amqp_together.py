"""Workers and commands that start at the same moment in an empty RabbitMQ: none of them fails for what another is just making."""

from __future__ import annotations

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.brokers.amqp.broker import AmqpBroker
from celeriac.core.message import Revocation
from celeriac.core.settings import make_settings
from celeriac.transports.amqp.errors import ConnectionLost, QueueBeingMade, connection_closed
from tests.services import PrivateRabbit

ROUNDS = 4
QUEUE = "jobs"


async def start_workers(broker: AmqpBroker) -> None:
    consumers = [broker.consumer() for _ in range(4)]
    opened = await asyncio.gather(
        *(consumer.open(uuid.uuid4().hex, (QUEUE, "more")) for consumer in consumers), return_exceptions=True
    )
    for consumer in consumers:
        await consumer.close()
    assert opened == [None] * len(consumers)


def look(broker: AmqpBroker) -> None:
    admin = broker.admin()
    for _ in range(3):
        admin.dead_letters(QUEUE, 5)
        admin.depths([QUEUE])
    admin.close()


def declare(broker: AmqpBroker) -> None:
    admin = broker.admin()
    admin.declare([f"{QUEUE}.dead", QUEUE])
    admin.close()


def revoke(broker: AmqpBroker) -> None:
    admin = broker.admin()
    admin.revoke([Revocation("some-id", time.time() + 60)])
    admin.close()


def test_all_at_once(rabbit_server: PrivateRabbit) -> None:
    with ThreadPoolExecutor(6) as threads:
        for _ in range(ROUNDS):
            vhost = rabbit_server.vhost()
            broker = AmqpBroker(rabbit_server.vhost_url(vhost), make_settings({}))
            commands = [threads.submit(command, broker) for command in (look, look, declare, declare, revoke, revoke)]
            asyncio.run(start_workers(broker))
            for command in commands:
                command.result(60)
            rabbit_server.delete_vhost(vhost)


@pytest.mark.parametrize("code", [506, 541])
def test_what_says_that_a_queue_is_being_made(code: int) -> None:
    assert isinstance(connection_closed("amqp://x", code, "noproc"), QueueBeingMade)
    assert type(connection_closed("amqp://x", 320, "CONNECTION_FORCED")) is ConnectionLost
