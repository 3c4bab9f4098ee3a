"""Letters over RabbitMQ where it refuses something; what all brokers have to do stands in the conformance suite."""

from __future__ import annotations

import asyncio

import pytest

from celeriac.brokers.amqp.broker import AmqpBroker
from celeriac.core.addresses import control_mailbox, event_address, event_mailbox
from celeriac.core.settings import make_settings
from celeriac.exceptions import BrokerUnavailable, OperationalError
from celeriac.wire.event import encode_event
from tests.services import PrivateRabbit

EVENT = {"type": "worker-online", "hostname": "w@x"}
SETTINGS = make_settings({})


def test_a_second_node_of_one_name_is_refused_until_the_first_is_gone(rabbit_url: str) -> None:
    async def scenario() -> None:
        broker = AmqpBroker(rabbit_url, SETTINGS)
        first, second = broker.messenger(), broker.messenger()
        await first.open([control_mailbox(SETTINGS, "w@x")])
        with pytest.raises(OperationalError, match=r"w@x\.celery\.pidbox"):
            await second.open([control_mailbox(SETTINGS, "w@x")])
        await first.close()
        await second.open([control_mailbox(SETTINGS, "w@x")])
        await second.close()

    asyncio.run(scenario())


def test_an_exchange_that_is_gone_is_made_anew(rabbit_server: PrivateRabbit, rabbit_url: str) -> None:
    vhost = rabbit_url.rpartition("/")[2]
    address = event_address(SETTINGS)

    async def scenario() -> None:
        broker = AmqpBroker(rabbit_url, SETTINGS)
        sender, receiver = broker.messenger(), broker.messenger()
        await sender.open(())
        await sender.send(address, [encode_event(EVENT, address.exchange)])
        gone = f'rabbit_exchange:delete({{resource, <<"{vhost}">>, exchange, <<"celeryev">>}}, false, <<"test">>), ok.'
        await asyncio.to_thread(rabbit_server.evaluate, gone)
        await sender.send(address, [encode_event(EVENT, address.exchange)])  # lost: nobody could listen either
        await receiver.open([event_mailbox(SETTINGS, "1")])
        async with asyncio.timeout(30):
            arrived = asyncio.create_task(receiver.receive())
            while not arrived.done():
                try:
                    await sender.send(address, [encode_event(EVENT, address.exchange)])
                except BrokerUnavailable:  # the channel has just been closed
                    pass
                await asyncio.wait([arrived], timeout=0.05)
        assert (await arrived)[0].routing_key == "worker.online"
        await receiver.close()
        await sender.close()

    asyncio.run(scenario())


def test_a_broker_that_takes_nothing_is_not_waited_for(own_rabbit: PrivateRabbit) -> None:
    address = event_address(SETTINGS)

    async def scenario() -> None:
        messenger = AmqpBroker(own_rabbit.fresh_url(), SETTINGS).messenger()
        await messenger.open(())
        letter = encode_event(EVENT, address.exchange)
        await messenger.send(address, [letter])
        await asyncio.to_thread(own_rabbit.evaluate, "vm_memory_monitor:set_vm_memory_high_watermark(0.0001), ok.")
        async with asyncio.timeout(30):
            with pytest.raises(BrokerUnavailable, match="takes no messages at present"):
                while True:
                    await messenger.send(address, [letter])
                    await asyncio.sleep(0.05)
        await asyncio.to_thread(own_rabbit.evaluate, "vm_memory_monitor:set_vm_memory_high_watermark(0.6), ok.")
        async with asyncio.timeout(30):
            while True:
                try:
                    await messenger.send(address, [letter])
                    break
                except BrokerUnavailable:
                    await asyncio.sleep(0.05)
        await messenger.close()

    asyncio.run(scenario())
