"""The memory broker where it differs: other threads, a clock of one's own, no registry behind it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from celeriac.brokers.embedded.memory import MemoryBroker
from celeriac.core.effects import ACK, REQUEUE, Dead, Settlement
from celeriac.core.settings import make_settings
from celeriac.exceptions import EncodeError
from celeriac.testing.broker_suite import make_message, make_messages


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_two_brokers_with_one_url_are_two_places() -> None:
    one, two = (MemoryBroker("memory://same", make_settings({})) for _ in range(2))
    one.producer().publish([make_message()], 5)
    assert one.admin().depths(["suite"])[0].ready == 1
    assert two.admin().depths(["suite"])[0].ready == 0
    assert one.shown_url() == "memory://same"


def test_a_message_is_no_object_shared_between_its_sides() -> None:
    broker = MemoryBroker("memory://", make_settings({}))
    message = make_message()
    broker.producer().publish([message], 5)
    message.headers["task"] = "changed after publishing"

    async def scenario() -> None:
        consumer = broker.consumer()
        await consumer.open("worker", ["suite"])
        (first,) = await consumer.claim(1, 1)
        assert first.message is not None
        assert first.message.task == "suite.task"
        first.message.headers["task"] = "changed by the worker"
        await consumer.settle([Settlement(first.tag, REQUEUE)])
        (again,) = await consumer.claim(1, 1)
        assert again.message is not None
        assert again.message.task == "suite.task"

    asyncio.run(scenario())


def test_headers_that_are_no_plain_data_stop_a_batch_before_it_begins() -> None:
    broker = MemoryBroker("memory://", make_settings({}))
    bad = make_message()
    bad.headers["lock"] = object()

    async def scenario() -> None:
        consumer = broker.consumer()
        await consumer.open("worker", ["suite"])
        await consumer.publish(make_messages(2))
        first, second = await consumer.claim(2, 1)
        with pytest.raises(EncodeError):
            await consumer.settle([Settlement(first.tag, ACK), Settlement(second.tag, ACK, publish=[bad])])
        assert await consumer.settle([Settlement(first.tag, ACK), Settlement(second.tag, ACK)]) == []

    asyncio.run(scenario())
    with pytest.raises(EncodeError):
        broker.producer().publish([make_message(), bad], 5)
    assert broker.admin().depths(["suite"])[0].ready == 0


def test_delays_and_leases_go_by_the_clock_given() -> None:
    clock = Clock()
    broker = MemoryBroker("memory://", make_settings({}), clock)
    delayed = make_message(not_before=clock.now + 3600)
    broker.producer().publish([delayed], 5)

    async def scenario() -> None:
        first, second = broker.consumer(), broker.consumer()
        await first.open("first", ["suite"])
        await second.open("second", ["suite"])
        waiting = asyncio.create_task(first.claim(1, 600))
        await asyncio.sleep(0)
        assert await second.claim(1, 0) == []
        clock.now += 3600
        broker.wake()
        (claimed,) = await asyncio.wait_for(waiting, 30)
        assert claimed.message is not None
        assert claimed.message.id == delayed.id
        clock.now += 3600
        assert await second.heartbeat(), "nobody ended its lease"
        await second.maintain()
        (taken,) = await second.claim(1, 0)
        assert taken.losses == 1
        assert not await first.heartbeat()
        assert await second.settle([Settlement(taken.tag, Dead("bad"))]) == []
        assert len(broker.admin().dead_letters("suite", 10)) == 1
        clock.now += 8 * 86_400
        await second.maintain()
        assert broker.admin().dead_letters("suite", 10) == []

    asyncio.run(scenario())


def test_many_threads_publish_while_a_loop_in_another_works() -> None:
    broker = MemoryBroker("memory://", make_settings({}))
    done: list[str] = []

    async def work() -> None:
        consumer = broker.consumer()
        await consumer.open("worker", ["suite"])
        while len(done) < 1000:
            claimed = await consumer.claim(10, 30)
            assert claimed, "nothing came"
            assert await consumer.settle([Settlement(delivery.tag, ACK) for delivery in claimed]) == []
            done.extend(delivery.message.id for delivery in claimed if delivery.message is not None)
        await consumer.release()
        await consumer.close()

    sent = [make_messages(1) for _ in range(1000)]
    producer = broker.producer()
    worker = threading.Thread(target=lambda: asyncio.run(work()))
    worker.start()

    def send(part: int) -> None:
        for batch in sent[part::4]:
            producer.publish(batch, 5)

    senders = [threading.Thread(target=send, args=(part,)) for part in range(4)]
    for thread in senders:
        thread.start()
    for thread in [*senders, worker]:
        thread.join()
    assert sorted(done) == sorted(batch[0].id for batch in sent)


def test_a_loop_closed_without_a_word_hinders_nobody() -> None:
    broker = MemoryBroker("memory://", make_settings({}))

    async def scenario() -> None:
        await broker.consumer().open("gone", ["suite"])

    asyncio.run(scenario())
    broker.producer().publish([make_message()], 5)
    assert broker.admin().depths(["suite"])[0].ready == 1
