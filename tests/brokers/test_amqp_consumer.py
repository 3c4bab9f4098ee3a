"""What is RabbitMQ's own in the worker's side: prefetch, counts, dead letters of any shape, topology, revocations."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from amqp import Connection as OtherConnection
from amqp import Message as OtherMessage

from celeriac.brokers.amqp.admin import AmqpAdmin
from celeriac.brokers.amqp.broker import AmqpBroker
from celeriac.brokers.amqp.consumer import RETURNS_ALLOWED, AmqpConsumer
from celeriac.core.effects import ACK, REQUEUE, Dead, Settlement
from celeriac.core.message import Delivery, Message, Revocation
from celeriac.core.settings import make_settings
from celeriac.exceptions import EncodeError
from celeriac.transports.amqp import delay
from celeriac.transports.amqp.aio import CONSUME_CHANNEL
from celeriac.transports.amqp.protocol import methods

QUEUE = "jobs"
DEADLINE_S = 30.0


def open_broker(url: str, **settings: Any) -> AmqpBroker:
    return AmqpBroker(url, make_settings(settings))


@pytest.fixture
def channel(rabbit_url: str) -> Iterator[Any]:
    """A channel of another client, to do what ours never would."""
    host, _, vhost = rabbit_url.partition("@")[2].partition("/")
    with OtherConnection(host, virtual_host=vhost) as connection:
        yield connection.channel()


def message(queue: str = QUEUE, **more: Any) -> Message:
    task_id = str(uuid.uuid4())
    return Message(queue, {"id": task_id, "task": "t"}, b"[[], {}, {}]", {"correlation_id": task_id}, **more)


def publish(broker: AmqpBroker, *messages: Message) -> None:
    producer = broker.producer()
    producer.publish(messages, DEADLINE_S)
    producer.close()


async def worker(broker: AmqpBroker, *queues: str) -> AmqpConsumer:
    consumer = broker.consumer()
    await consumer.open(uuid.uuid4().hex, queues or (QUEUE,))
    return consumer


async def claim(consumer: AmqpConsumer, count: int) -> list[Delivery]:
    claimed: list[Delivery] = []
    until = time.monotonic() + DEADLINE_S
    while len(claimed) < count:
        assert time.monotonic() < until, f"only {len(claimed)} of {count} came"
        claimed += await consumer.claim(count - len(claimed), 0.2)
    return claimed


def settle(deliveries: list[Delivery], verdict: Any = ACK) -> list[Settlement]:
    return [Settlement(delivery.tag, verdict) for delivery in deliveries]


def letters(admin: AmqpAdmin, count: int) -> list[Any]:
    until = time.monotonic() + DEADLINE_S
    while len(found := admin.dead_letters(QUEUE, 1000)) < count:
        assert time.monotonic() < until
    return found


@pytest.mark.parametrize("queue_type", ["quorum", "classic"])
def test_the_broker_hands_out_no_more_than_was_asked_for(rabbit_url: str, queue_type: str) -> None:
    broker = open_broker(rabbit_url, task_default_queue_type=queue_type)
    publish(broker, *[message() for _ in range(20)])

    async def scenario() -> None:
        greedy, other = await worker(broker), await worker(broker)
        held = await claim(greedy, 3)
        rest = await claim(other, 17)
        assert len({x.message.id for x in held + rest if x.message}) == 20
        await greedy.close()
        await other.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("queue_type", ["quorum", "classic"])
def test_what_nobody_starts_is_given_back_to_those_who_are_idle(rabbit_url: str, queue_type: str) -> None:
    broker = open_broker(rabbit_url, task_default_queue_type=queue_type, worker_prefetch_hold_s=0.2)
    publish(broker, *[message() for _ in range(10)])

    async def scenario() -> None:
        busy, idle = await worker(broker), await worker(broker)
        first, second, *running = await claim(busy, 4)
        assert not await busy.settle(settle([first, second]))  # which makes room for two that nobody asked for
        others = await claim(idle, 6)
        assert len({x.message.id for x in [first, second, *running, *others] if x.message}) == 10
        assert not await idle.settle(settle(others))
        await idle.close()
        await asyncio.to_thread(publish, broker, late := message())
        (delivery,) = await claim(busy, 1)  # it goes on when it asks again
        assert delivery.message is not None
        assert delivery.message.id == late.id
        assert not await busy.settle(settle([*running, delivery]))
        await busy.close()

    asyncio.run(scenario())


def test_a_message_given_back_often_is_not_counted_as_a_killer(rabbit_url: str) -> None:
    broker = open_broker(rabbit_url)
    sent = message()
    publish(broker, sent)

    async def scenario() -> None:
        consumer = await worker(broker)
        for _ in range(RETURNS_ALLOWED * 3):
            (delivery,) = await claim(consumer, 1)
            assert delivery.losses == 0
            assert delivery.message is not None
            assert delivery.message.headers == sent.headers
            assert not await consumer.settle(settle([delivery], REQUEUE))
        await consumer.release()
        await consumer.close()

    asyncio.run(scenario())


def test_a_message_that_kills_its_workers_is_counted(rabbit_url: str) -> None:
    broker = open_broker(rabbit_url, task_loss_limit=20)
    publish(broker, message())

    async def scenario() -> list[int]:
        losses = []
        for _ in range(21):
            consumer = await worker(broker)
            (delivery,) = await claim(consumer, 1)
            losses.append(delivery.losses)
            await consumer.close()
        return losses

    losses = asyncio.run(scenario())
    assert losses[: RETURNS_ALLOWED + 1] == [0] * (RETURNS_ALLOWED + 1)
    assert losses[RETURNS_ALLOWED:20] == list(range(10))
    assert losses[20] == 20, "parked by the core before RabbitMQ 4 would drop it"


JUNK: list[dict[str, Any]] = [
    {"body": b"\x00\xff not JSON"},
    {"body": b""},
    {"body": "x", "application_headers": {"task": ["a"], "id": {"a": 1}, "n": [1, None, {"x": b"\xff"}], "f": 0.5}},
    {
        "body": "x",
        "content_type": "application/x-nobody",
        "priority": 255,
        "message_id": "mine",
        "expiration": "600000",
    },
    {
        "body": "x",
        "application_headers": {"x-death": "no list", "x-celeriac-reason": "mine"},
        "type": "t",
        "app_id": "a",
    },
]


@pytest.mark.parametrize("content", JUNK)
def test_messages_of_any_shape_are_parked_and_retried_unchanged(
    rabbit_url: str, channel: Any, content: dict[str, Any]
) -> None:
    broker = open_broker(rabbit_url)
    admin = broker.admin()
    admin.declare([QUEUE])
    channel.basic_publish(OtherMessage(**content), routing_key=QUEUE)

    async def park() -> Message:
        consumer = await worker(broker)
        (delivery,) = await claim(consumer, 1)
        assert delivery.message is not None
        assert not await consumer.settle(settle([delivery], Dead("ä" * 5000)))
        await consumer.close()
        return delivery.message

    parked = asyncio.run(park())
    (letter,) = letters(admin, 1)
    assert letter.reason == "ä" * 2048
    assert letter.queue == QUEUE
    assert letter.message.body == parked.body
    assert {k: v for k, v in parked.headers.items() if not k.startswith("x-celeriac")} == letter.message.headers
    assert admin.dead_retry(QUEUE, [letter.id]) == 1
    assert admin.dead_retry(QUEUE, [letter.id]) == 0
    admin.close()

    async def read_again() -> Message:
        consumer = await worker(broker)
        (delivery,) = await claim(consumer, 1)
        assert not await consumer.settle(settle([delivery]))
        await consumer.close()
        assert delivery.message is not None
        return delivery.message

    again = asyncio.run(read_again())
    assert again.body == parked.body
    assert again.content_type == parked.content_type
    kept = {name: value for name, value in parked.properties.items() if name not in ("expiration", "delivery_mode")}
    assert kept.items() <= again.properties.items()
    assert {k: v for k, v in parked.headers.items() if not k.startswith("x-celeriac")} == again.headers


def test_dead_letters_can_be_looked_at_any_number_of_times(rabbit_url: str) -> None:
    broker = open_broker(rabbit_url)
    publish(broker, *[message() for _ in range(3)])

    async def park() -> None:
        consumer = await worker(broker)
        assert not await consumer.settle(settle(await claim(consumer, 3), Dead("why")))
        await consumer.close()

    asyncio.run(park())
    admin = broker.admin()
    handles = {letter.id for letter in letters(admin, 3)}
    for _ in range(RETURNS_ALLOWED * 2 + 5):  # RabbitMQ 4 drops what was looked at 20 times, if it is not put anew
        assert {letter.id for letter in letters(admin, 3)} == handles
    assert admin.dead_purge(QUEUE, handles) == 3
    admin.close()


def test_a_follow_up_that_cannot_be_sent_parks_its_message(rabbit_url: str) -> None:
    broker = open_broker(rabbit_url)
    publish(broker, message(), message())
    impossible = message()
    impossible.headers["big"] = 2**70

    async def scenario() -> None:
        consumer = await worker(broker)
        first, second = await claim(consumer, 2)
        batch = [Settlement(first.tag, ACK, publish=[impossible]), Settlement(second.tag, ACK)]
        assert not await consumer.settle(batch)
        with pytest.raises(EncodeError, match="64"):
            await consumer.publish([impossible])
        await consumer.close()

    asyncio.run(scenario())
    admin = broker.admin()
    (letter,) = letters(admin, 1)
    assert "follow-up" in letter.reason
    assert "64" in letter.reason
    admin.close()


def test_an_existing_queue_is_used_as_it_is(rabbit_url: str, channel: Any) -> None:
    channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-max-priority": 5, "x-max-length": 1000})
    broker = open_broker(rabbit_url)
    publish(broker, sent := message(), message(not_before=time.time() + 1))

    async def scenario() -> None:
        consumer = await worker(broker)
        claimed = await claim(consumer, 2)
        assert claimed[0].message is not None
        assert claimed[0].message.id == sent.id
        await consumer.close()

    asyncio.run(scenario())


def test_queues_are_declared_as_celery_declares_them(rabbit_url: str, channel: Any) -> None:
    broker = open_broker(rabbit_url)
    publish(broker, message("quorum-queue"))
    classic = open_broker(rabbit_url, task_default_queue_type="classic", task_queue_max_priority=7)
    publish(classic, message("classic-queue"))
    for name, arguments in (("quorum-queue", {"x-queue-type": "quorum"}), ("classic-queue", {"x-max-priority": 7})):
        channel.exchange_declare(
            name, "direct", durable=True, auto_delete=False
        )  # equal: else the channel would be closed
        assert channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments).message_count == 1
        channel.basic_publish(OtherMessage("x"), exchange=name, routing_key=name)


def test_a_queue_gets_no_delayed_message_of_another_whose_name_ends_alike(rabbit_url: str) -> None:
    broker = open_broker(rabbit_url)
    publish(broker, sent := message("shop.mail", not_before=time.time() + 1))

    async def scenario() -> None:
        both = await worker(broker, "mail", "shop.mail")
        (delivery,) = await claim(both, 1)
        assert delivery.queue == "shop.mail"
        assert delivery.message is not None
        assert delivery.message.id == sent.id
        assert delivery.message.routing_key == "shop.mail"
        assert not await both.settle(settle([delivery]))
        assert await both.claim(1, 0.5) == []
        await both.close()

    asyncio.run(scenario())


def test_what_the_broker_has_kept_until_its_time_is_due_whatever_a_workers_clock_says(rabbit_url: str) -> None:
    """Else a worker whose clock is behind would have it wait for the difference once more."""
    broker = open_broker(rabbit_url)
    publish(broker, at_once := message(), later := message(not_before=(eta := time.time() + 1)))

    async def scenario() -> None:
        consumer = await worker(broker)
        claimed = {one.message.id: one for one in await claim(consumer, 2) if one.message is not None}
        assert claimed[later.id].was_kept_until(eta)
        assert not claimed[later.id].was_kept_until(eta + 60)
        assert not claimed[at_once.id].was_kept_until(0)
        await consumer.close()

    asyncio.run(scenario())


def test_a_message_can_wait_again_and_again(rabbit_url: str) -> None:
    """RabbitMQ drops what comes to a delay level twice, if it can see that: it must not."""
    broker = open_broker(rabbit_url)
    publish(broker, sent := message(not_before=time.time() + 1))

    async def scenario() -> None:
        consumer = await worker(broker)
        for _ in range(3):
            (delivery,) = await claim(consumer, 1)
            assert delivery.message is not None
            assert delivery.message.id == sent.id
            delivery.message.not_before = time.time() + 0.5
            assert not await consumer.settle([Settlement(delivery.tag, ACK, publish=[delivery.message])])
        await consumer.close()

    asyncio.run(scenario())


def test_an_expiration_does_not_cut_a_wait_short(rabbit_url: str) -> None:
    broker = open_broker(rabbit_url)
    due_at = time.time() + 2
    waiting = message(not_before=due_at)
    waiting.properties["expiration"] = "100"
    publish(broker, waiting)

    async def scenario() -> None:
        consumer = await worker(broker)
        await claim(consumer, 1)
        assert time.time() >= due_at
        await consumer.close()

    asyncio.run(scenario())


def test_what_has_expired_is_handed_out_so_that_its_end_can_be_told(rabbit_url: str) -> None:
    broker = open_broker(rabbit_url)
    expired = message()
    expired.headers["expires"] = "2020-01-01T00:00:00+00:00"
    expired.properties["expiration"] = "0"  # with which RabbitMQ would drop it
    publish(broker, expired)

    async def scenario() -> None:
        consumer = await worker(broker)
        [delivery] = await claim(consumer, 1)
        assert delivery.message is not None
        assert delivery.message.headers["expires"] == expired.headers["expires"]
        await consumer.close()

    asyncio.run(scenario())


def test_a_consumer_that_the_broker_forgot_is_started_anew(rabbit_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.brokers.amqp.consumer.STALL_S", 0.0)
    broker = open_broker(rabbit_url)

    async def scenario() -> None:
        consumer = await worker(broker)
        assert await consumer.claim(1, 0.1) == []
        connection = consumer._live()
        async with connection.lock(CONSUME_CHANNEL):  # behind its back
            tags = list(consumer._intake.feeds[QUEUE].windows)
            await connection.call(CONSUME_CHANNEL, [methods.basic_cancel(tag) for tag in tags])
        await consumer.publish([message()])
        assert await consumer.claim(1, 0.3) == []
        until = time.monotonic() + DEADLINE_S
        claimed: list[Delivery] = []
        while not claimed:
            assert time.monotonic() < until
            await consumer.maintain()
            claimed = await consumer.claim(1, 0.1)
        await consumer.close()

    asyncio.run(scenario())


def test_the_delay_in_a_routing_key() -> None:
    key = delay.routing_key(5, "a.b")
    assert key == "0." * 25 + "1.0.1.a.b"
    assert delay.without_delay(key) == "a.b"
    assert delay.without_delay(delay.routing_key(3, key)) == "a.b"
    assert delay.without_delay("1.0.a") == "1.0.a"
    assert [delay.seconds(x) for x in (-1, 0, 0.01, 1, 1.001, 1e12)] == [0, 0, 1, 1, 2, delay.MAX_DELAY_S]


def test_revocations_outlive_the_workers(rabbit_url: str) -> None:
    broker = open_broker(rabbit_url)
    admin = broker.admin()
    in_force = [Revocation(f"task-{number}", time.time() + 3600) for number in range(1500)]
    admin.revoke(in_force)
    admin.revoke([Revocation("gone", time.time() - 1)])
    admin.close()

    async def scenario() -> None:
        for _ in range(2):
            consumer = await worker(broker)
            assert {x.id for x in await consumer.revocations()} == {
                x.id for x in in_force
            }  # all at once, right at the start
            await consumer.open("again", [QUEUE])
            assert await consumer.revocations() == []
            await consumer.close()

    asyncio.run(scenario())
