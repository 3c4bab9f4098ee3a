"""Tasks that take longer than RabbitMQ's `consumer_timeout` run once, and come back at once when their worker is killed."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac.brokers.amqp import consumer_timeout
from celeriac.brokers.amqp.broker import AmqpBroker
from celeriac.brokers.amqp.consumer import AmqpConsumer
from celeriac.brokers.amqp.consumer_timeout import must_secure, takes_argument, told_s
from celeriac.core.effects import ACK, REQUEUE, Lost, Settlement
from celeriac.core.message import Delivery, Message
from celeriac.core.settings import make_settings
from tests.e2e.harness import DEADLINE_S, Guard, Place, Scene
from tests.services import PrivateRabbit

QUEUE = "long"
TIMEOUT_S = 2.0
SECURE = {"worker_claim_secure_s": 0.3}
NEVER = {"worker_claim_secure_s": 3600.0}


@pytest.fixture(scope="module")
def impatient_rabbit(rabbit_server: PrivateRabbit) -> Iterator[PrivateRabbit]:
    """The shared node, that gives channels opened now little time, and looks often."""
    setting = "application:set_env(rabbit, {}, {})."
    rabbit_server.start()
    rabbit_server.evaluate(setting.format("consumer_timeout", int(TIMEOUT_S * 1000)))
    rabbit_server.evaluate(setting.format("channel_tick_interval", 200))
    yield rabbit_server
    rabbit_server.evaluate(setting.format("consumer_timeout", 1_800_000))
    rabbit_server.evaluate(setting.format("channel_tick_interval", 60_000))


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture
def scene(impatient_rabbit: PrivateRabbit, guard: Guard) -> Iterator[Scene]:
    directory = Path(tempfile.mkdtemp(dir=guard.directory))
    place = Place("rabbitmq", impatient_rabbit.fresh_url(), "rpc://", directory, impatient_rabbit)
    scene = Scene(place, guard)
    yield scene
    scene.close()
    place.app.close()


def open_broker(url: str, **settings: Any) -> AmqpBroker:
    return AmqpBroker(url, make_settings(settings))


def message(queue: str = QUEUE) -> Message:
    task_id = str(uuid.uuid4())
    return Message(queue, {"id": task_id, "task": "t"}, b"[[], {}, {}]", {"correlation_id": task_id})


def ids(claimed: list[Delivery]) -> list[str]:
    return [delivery.message.id for delivery in claimed if delivery.message is not None]


async def claim(consumer: AmqpConsumer, count: int) -> list[Delivery]:
    claimed: list[Delivery] = []
    until = time.monotonic() + DEADLINE_S
    while len(claimed) < count:
        assert time.monotonic() < until, f"only {len(claimed)} of {count} came"
        claimed += await consumer.claim(count - len(claimed), 0.2)
    return claimed


async def opened(broker: AmqpBroker, queue: str = QUEUE) -> AmqpConsumer:
    consumer = broker.consumer()
    await consumer.open(uuid.uuid4().hex, [queue])
    return consumer


async def is_left(rabbit: PrivateRabbit, vhost: str, count: int) -> None:
    """Return when the queue has so many messages, claimed or not: nobody answers an acknowledgement."""
    until = time.monotonic() + DEADLINE_S
    while (found := rabbit.unsettled(vhost, QUEUE)) != count:
        assert time.monotonic() < until, f"{found} messages are left, not {count}"
        await asyncio.sleep(0.05)


async def time_is_up(broker: AmqpBroker) -> None:
    """Return when RabbitMQ has taken back the claim of a worker that secures nothing: a claim made before is over its time."""
    careless = await opened(broker, "control")
    await careless.publish([message("control")])
    (delivery,) = await claim(careless, 1)
    until = time.monotonic() + DEADLINE_S
    while careless.holds(delivery.tag):
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    (delivery,) = await claim(careless, 1)
    assert not await careless.settle([Settlement(delivery.tag, ACK)])
    await careless.close()


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_claims_of_any_age_stay_ours_and_are_settled_one_by_one(impatient_rabbit: PrivateRabbit, kind: str) -> None:
    vhost = impatient_rabbit.vhost()
    url = impatient_rabbit.vhost_url(vhost)
    broker = open_broker(url, task_default_queue_type=kind, **SECURE)

    async def scenario() -> None:
        slow = await opened(broker)
        await slow.publish([message() for _ in range(6)])
        old = await claim(slow, 6)
        idle = await opened(broker)
        for _ in range(2 if kind == "quorum" else 1):
            await time_is_up(open_broker(url, **NEVER))
            # More comes meanwhile, to whoever asks, and nothing of what is claimed.
            await slow.publish([message()])
            (late,) = await claim(slow, 1)
            assert late.message is not None
            assert late.message.id not in ids(old)
            assert not await slow.settle([Settlement(late.tag, ACK)])
        assert all(slow.holds(delivery.tag) for delivery in old)
        assert await idle.claim(10, 0.1) == []

        assert not await slow.settle([Settlement(old[1].tag, ACK), Settlement(old[4].tag, REQUEUE)])
        assert ids(again := await claim(idle, 1)) == ids(old[4:5])
        assert not await idle.settle([Settlement(again[0].tag, ACK)])
        assert await slow.settle([Settlement(old[1].tag, ACK)]) == [Lost(old[1].tag)]
        await is_left(impatient_rabbit, vhost, 4)  # those that were not settled are not touched

        await slow.settle([Settlement(old[0].tag, ACK)])
        await slow.release()  # what is left comes back at once, and nothing else
        assert sorted(ids(again := await claim(idle, 3))) == sorted(ids([old[2], old[3], old[5]]))
        assert not await idle.settle([Settlement(delivery.tag, ACK) for delivery in again])
        await is_left(impatient_rabbit, vhost, 0)
        await slow.close()
        await idle.close()

    asyncio.run(scenario())


def test_channels_of_secured_claims_are_closed_when_all_is_settled(impatient_rabbit: PrivateRabbit) -> None:
    channels = "integer_to_binary(length(rabbit_channel:list()))."
    url = impatient_rabbit.fresh_url()
    broker = open_broker(url, **SECURE)

    async def scenario() -> None:
        consumer = await opened(broker)
        await consumer.publish([message()])
        (first,) = await claim(consumer, 1)
        before = int(impatient_rabbit.evaluate(channels))
        for _ in range(2):
            await time_is_up(open_broker(url, **NEVER))
            await consumer.publish([message()])
            (later,) = await claim(consumer, 1)
            await consumer.settle([Settlement(first.tag, ACK)])
            first = later
        await consumer.settle([Settlement(first.tag, ACK)])
        until = time.monotonic() + DEADLINE_S
        while int(impatient_rabbit.evaluate(channels)) > before:
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
        await consumer.close()

    asyncio.run(scenario())


def test_a_killed_worker_gives_its_long_tasks_back_and_a_living_one_runs_them_once(
    scene: Scene, impatient_rabbit: PrivateRabbit
) -> None:
    first, second = scene.keys("held", 2)
    gates = [scene.gate(), scene.gate()]
    worker = scene.worker("-c", "2", settings=SECURE)
    results = [scene.send("held", key, gate.path) for key, gate in zip((first, second), gates, strict=True)]
    scene.until_started(first, second)
    other = scene.worker("-c", "2", settings=SECURE)
    for _ in range(2):
        asyncio.run(time_is_up(open_broker(scene.place.broker_url, **NEVER)))
    gates[0].open()
    assert results[0].get(timeout=DEADLINE_S)
    assert [scene.journal.starts(key) for key in (first, second)] == [1, 1]
    vhost = scene.place.broker_url.rpartition("/")[2]
    # A result is told before its message is acknowledged: killed in between, the worker would have it run again.
    scene.until(lambda: impatient_rabbit.unsettled(vhost, scene.queue) == 1, "the first is acknowledged")

    worker.kill()
    scene.until_started(second, times=2)
    gates[1].open()
    assert results[1].get(timeout=DEADLINE_S)
    scene.until_empty()
    assert [scene.journal.starts(key) for key in (first, second)] == [1, 2]
    assert "took back" not in worker.log + other.log


def test_where_the_timeout_strikes_the_worker_goes_on_and_knows_its_task_again(scene: Scene) -> None:
    key, gate = scene.key("held"), scene.gate()
    worker = scene.worker("-c", "1", settings=NEVER)
    result = scene.send("held", key, gate.path)
    scene.until_started(key)
    scene.until(lambda: f"claims are secured after {TIMEOUT_S / 2:g} s" in worker.log, "the worker says what to do")
    gate.open()
    assert result.get(timeout=DEADLINE_S)
    scene.until_empty()
    assert scene.journal.starts(key) == 1
    later, gate = scene.key("later"), scene.gate()
    result = scene.send("held", later, gate.path)
    scene.until_started(later)
    asyncio.run(time_is_up(open_broker(scene.place.broker_url, **NEVER)))
    gate.open()
    assert result.get(timeout=DEADLINE_S)
    assert worker.log.count("took back") == 1, "it has learned how much time there is"


def test_a_queue_that_refuses_to_be_told_is_consumed_all_the_same(
    impatient_rabbit: PrivateRabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a classic queue of RabbitMQ 4.3 may: here with an argument that this one knows, and refuses for its value.
    monkeypatch.setattr(consumer_timeout, "takes_argument", lambda _server: True)
    monkeypatch.setattr(consumer_timeout, "ARGUMENT", "x-priority")
    monkeypatch.setattr(consumer_timeout, "CONSUMER_ARGUMENTS", {"x-priority": "no number"})
    broker = open_broker(impatient_rabbit.fresh_url())

    async def scenario() -> None:
        consumer = await opened(broker)
        await consumer.publish([message(), message()])
        for delivery in await claim(consumer, 2):
            assert not await consumer.settle([Settlement(delivery.tag, ACK)])
        await consumer.close()

    asyncio.run(scenario())


def test_what_a_server_says_of_itself_tells_how_claims_are_kept() -> None:
    def server(version: str, product: str = "RabbitMQ") -> dict[str, str]:
        return {"product": product, "version": version}

    old = [server("3.10.8"), server("3.13.7"), server("4.0.0-rc.1"), server("4.2.9")]
    new = [server("4.3.0"), server("4.10.1"), server("5.0.0")]
    unknown = [server("2.1.0", "LavinMQ"), server("main"), {}]
    assert [(must_secure(one), takes_argument(one)) for one in old] == [(True, False)] * 4
    assert [(must_secure(one), takes_argument(one)) for one in new] == [(False, True)] * 3
    assert [(must_secure(one), takes_argument(one)) for one in unknown] == [(False, False)] * 3
    text = "PRECONDITION_FAILED - delivery acknowledgement on channel 3 timed out. Timeout value used: 5000 ms. See"
    assert told_s(text) == 5.0
    assert told_s("PRECONDITION_FAILED - unknown delivery tag 7") is None
