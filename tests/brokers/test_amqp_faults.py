"""RabbitMQ misbehaves: typed errors within the deadline, and nothing that was accepted is lost."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqp
import pytest

from celeriac.brokers.amqp.broker import AmqpBroker
from celeriac.core.effects import ACK, Lost, Settlement
from celeriac.core.message import Delivery, Message
from celeriac.core.settings import make_settings
from celeriac.exceptions import BrokerUnavailable, ImproperlyConfigured, OperationalError, PublishTimeout
from celeriac.transports.amqp.address import parse
from celeriac.transports.amqp.blocking import BlockingConnection, DeadlinePassed
from tests.brokers.callers import program, raised_in_a_task, send_in_each_way, task_of
from tests.services import PrivateRabbit, free_port, wait_until

QUEUE = "faults"


@pytest.fixture(scope="module")
def harmed_rabbit(needs_rabbit: None) -> Iterator[PrivateRabbit]:
    """A node for the tests of this file, which kill and freeze it."""
    with PrivateRabbit() as server:
        yield server


@pytest.fixture
def rabbit(harmed_rabbit: PrivateRabbit) -> PrivateRabbit:
    harmed_rabbit.start()
    return harmed_rabbit


def open_broker(url: str, **settings: Any) -> AmqpBroker:
    return AmqpBroker(url, make_settings(settings))


def message(queue: str = QUEUE, body: bytes = b"[[], {}, {}]") -> Message:
    task_id = str(uuid.uuid4())
    return Message(queue, {"id": task_id, "task": "t"}, body, {"correlation_id": task_id})


def freeze(rabbit: PrivateRabbit) -> None:
    """Freeze the broker, and return when it is: its threads stop one by one."""
    rabbit.freeze()
    stats = [path / "stat" for path in Path(f"/proc/{rabbit.pid}/task").iterdir()]
    wait_until(lambda: all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats), "it is frozen")


async def claim_all(broker: AmqpBroker, queue: str = QUEUE) -> list[str]:
    """Claim and acknowledge until nothing comes any more."""
    consumer = broker.consumer()
    await consumer.open("reader", [queue])
    found: list[str] = []
    while claimed := await consumer.claim(1000, 1.0):
        found += [x.message.id for x in claimed if x.message]
        assert not await consumer.settle([Settlement(x.tag, ACK) for x in claimed])
    await consumer.close()
    return found


def test_what_was_accepted_survives_restarts_of_the_broker(rabbit: PrivateRabbit) -> None:
    broker = open_broker(rabbit.fresh_url())
    accepted: list[str] = []
    sent: list[str] = []
    stop = threading.Event()

    def produce() -> None:
        producer = broker.producer()
        while not stop.is_set():
            batch = [message() for _ in range(5)]
            sent.extend(x.id for x in batch)
            try:
                producer.publish(batch, 5)
            except BrokerUnavailable:
                stop.wait(0.05)
                continue
            accepted.extend(x.id for x in batch)
        producer.close()

    threads = [threading.Thread(target=produce) for _ in range(2)]
    for thread in threads:
        thread.start()

    def some_more_are_accepted() -> None:
        goal = len(accepted) + 50
        wait_until(lambda: len(accepted) > goal, "messages are accepted", deadline_s=60)

    try:
        some_more_are_accepted()
        # First an orderly one: a quorum queue made less than a moment before a kill -9 does not come back (RabbitMQ 3.10).
        rabbit.stop_app()
        rabbit.start_app()
        some_more_are_accepted()
        rabbit.kill()
        rabbit.start()
        some_more_are_accepted()
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    found = asyncio.run(claim_all(broker))
    assert set(accepted) <= set(found)
    assert set(found) <= set(sent)


def test_a_frozen_broker_is_an_unknown_outcome_by_the_deadline(rabbit: PrivateRabbit) -> None:
    broker = open_broker(rabbit.fresh_url())
    producer = broker.producer()
    producer.publish([message()], 10)
    freeze(rabbit)
    try:
        with pytest.raises(PublishTimeout, match="not known"):
            producer.publish([message()], 0.5)
        with pytest.raises(BrokerUnavailable) as caught:  # a new connection: nothing can have been sent
            producer.publish([message()], 0.5)
        assert not isinstance(caught.value, PublishTimeout)
    finally:
        rabbit.thaw()
    producer.publish([message()], 30)
    producer.close()


def test_whoever_sends_to_a_frozen_broker_gets_a_typed_error(rabbit: PrivateRabbit) -> None:
    app = program(rabbit.fresh_url())
    task_of(app).delay("it works")
    freeze(rabbit)
    try:
        send_in_each_way(app)
    finally:
        rabbit.thaw()
    assert issubclass(raised_in_a_task(app, lambda: freeze(rabbit), rabbit.thaw), BrokerUnavailable)
    app.close()


def test_an_idle_connection_is_tried_before_it_is_trusted(
    rabbit: PrivateRabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.brokers.amqp.producer.IDLE_CHECK_S", 0.0)
    producer = open_broker(rabbit.fresh_url()).producer()
    producer.publish([message()], 10)
    freeze(rabbit)
    try:
        with pytest.raises(BrokerUnavailable) as caught:
            producer.publish([message()], 0.9)
        assert not isinstance(caught.value, PublishTimeout), "nothing was sent: that much is certain"
    finally:
        rabbit.thaw()
    producer.publish([message()], 30)
    producer.close()


def test_a_memory_alarm_is_told(rabbit: PrivateRabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.brokers.amqp.consumer._OPEN_WAIT_S", 1.0)
    url = rabbit.fresh_url()
    broker = open_broker(url)
    producer = broker.producer()
    producer.publish([message()], 10)
    rabbit.evaluate("vm_memory_monitor:set_vm_memory_high_watermark({absolute, 1048576}).")
    try:

        def refused() -> bool:
            try:
                producer.publish([message()], 0.5)
            except BrokerUnavailable as error:
                return "takes no messages" in str(error)
            return False

        wait_until(refused, "the alarm is told")
        app = program(url)
        send_in_each_way(app)
        app.close()

        async def from_a_worker() -> None:
            consumer = open_broker(url, publish_timeout_s=0.5).consumer()
            with pytest.raises(BrokerUnavailable):
                await consumer.open("worker", [QUEUE])
                while True:
                    await consumer.publish([message()])
            await consumer.close()

        asyncio.run(from_a_worker())
    finally:
        rabbit.evaluate("vm_memory_monitor:set_vm_memory_high_watermark({absolute, 1073741824}).")

    def accepted() -> bool:
        try:
            producer.publish([message()], 5)
        except BrokerUnavailable:
            return False
        return True

    wait_until(accepted, "messages are accepted again")
    producer.close()


def full_queue(rabbit: PrivateRabbit, vhost: str) -> None:
    """Make a queue that has room for one message, and put one there."""
    with amqp.Connection(f"127.0.0.1:{rabbit.port}", virtual_host=vhost) as connection:
        channel = connection.channel()
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        channel.queue_declare("full", durable=True, auto_delete=False, arguments=arguments)
        channel.confirm_select()
        channel.basic_publish_confirm(amqp.Message("x"), routing_key="full")


def test_what_is_refused_beside_others_is_sent_again_and_they_are_not(
    rabbit: PrivateRabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a quorum queue that another connection is only just making; a full one refuses for as long as one likes."""
    monkeypatch.setattr("celeriac.brokers.amqp.producer._REFUSED_WAIT_S", 30.0)
    vhost = rabbit.vhost()
    full_queue(rabbit, vhost)
    broker = open_broker(rabbit.vhost_url(vhost))
    producer, admin = broker.producer(), broker.admin()
    producer.publish([message()], 10)
    publishing = threading.Thread(target=producer.publish, args=([message(), message("full"), message()], 30))
    publishing.start()
    wait_until(lambda: admin.depths([QUEUE])[0].ready == 3, "the others are there")
    assert publishing.is_alive()
    admin.purge("full")
    publishing.join(30)
    assert not publishing.is_alive()
    assert [depth.ready for depth in admin.depths([QUEUE, "full"])] == [3, 1]
    producer.close()
    admin.close()


def test_what_is_refused_for_good_is_told(rabbit: PrivateRabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.brokers.amqp.producer._REFUSED_WAIT_S", 0.2)
    vhost = rabbit.vhost()
    full_queue(rabbit, vhost)
    broker = open_broker(rabbit.vhost_url(vhost))
    producer, admin = broker.producer(), broker.admin()
    for batch in ([message(), message("full")], [message(), message("full"), message("full")]):
        with pytest.raises(PublishTimeout, match="RabbitMQ refused"):  # not that nothing was sent
            producer.publish(batch, 10)
    with pytest.raises(BrokerUnavailable, match="RabbitMQ refused 1 of 1") as caught:
        producer.publish([message("full")], 10)
    assert not isinstance(caught.value, PublishTimeout)
    assert [depth.ready for depth in admin.depths([QUEUE, "full"])] == [2, 1]
    producer.close()
    admin.close()


def test_claims_older_than_the_consumer_timeout_are_lost_and_the_worker_goes_on(rabbit: PrivateRabbit) -> None:
    setting = "application:set_env(rabbit, {}, {})."
    rabbit.evaluate(setting.format("consumer_timeout", 1500))
    rabbit.evaluate(setting.format("channel_tick_interval", 500))
    broker = open_broker(rabbit.fresh_url())
    producer = broker.producer()
    sent = message()
    producer.publish([sent], 10)
    producer.close()

    async def scenario() -> None:
        consumer = broker.consumer()
        await consumer.open("slow", [QUEUE])
        (old,) = await consumer.claim(1, 10)
        assert await consumer.heartbeat()
        until = time.monotonic() + 60
        while consumer.holds(old.tag):
            assert time.monotonic() < until, "the broker should have closed the channel"
            await asyncio.sleep(0.05)
        assert await consumer.heartbeat(), "there is no lease to lose"
        assert await consumer.settle([Settlement(old.tag, ACK, publish=[message("never")])]) == [Lost(old.tag)]
        claimed: list[Delivery] = []
        while not claimed:
            claimed = await consumer.claim(1, 1)
        assert claimed[0].message is not None
        assert claimed[0].message.id == sent.id
        assert not await consumer.settle([Settlement(claimed[0].tag, ACK)])
        await consumer.close()

    try:
        asyncio.run(scenario())
    finally:
        rabbit.evaluate(setting.format("consumer_timeout", 1_800_000))


def test_a_silent_broker_is_given_up_after_two_heartbeats(rabbit: PrivateRabbit) -> None:
    broker = open_broker(rabbit.fresh_url(), broker_heartbeat=1.0)

    async def scenario() -> None:
        consumer = broker.consumer()
        await consumer.open("worker", [QUEUE])
        freeze(rabbit)
        try:
            with pytest.raises(BrokerUnavailable, match="silent"):
                await consumer.claim(1, 60)
        finally:
            rabbit.thaw()
        await consumer.close()

    asyncio.run(scenario())


def test_heartbeats_keep_an_idle_worker_connected(rabbit: PrivateRabbit) -> None:
    broker = open_broker(rabbit.fresh_url(), broker_heartbeat=1.0)

    async def scenario() -> None:
        consumer = broker.consumer()
        await consumer.open("worker", [QUEUE])
        assert await consumer.claim(1, 4.0) == []  # RabbitMQ would have hung up after 2 or 3 seconds
        assert await consumer.heartbeat()
        await consumer.close()

    asyncio.run(scenario())


def test_a_deleted_queue_is_declared_again(rabbit: PrivateRabbit) -> None:
    vhost = rabbit.vhost()
    broker = open_broker(rabbit.vhost_url(vhost))

    async def scenario() -> None:
        consumer = broker.consumer()
        await consumer.open("worker", [QUEUE])
        assert await consumer.claim(1, 0.2) == []
        await asyncio.to_thread(rabbit.ctl, "-p", vhost, "delete_queue", QUEUE)
        while await consumer.claim(1, 0.2):
            pass
        await consumer.publish([sent := message()])
        claimed: list[Delivery] = []
        while not claimed:
            claimed = await consumer.claim(1, 1)
        assert claimed[0].message is not None
        assert claimed[0].message.id == sent.id
        await consumer.close()

    asyncio.run(scenario())


def test_a_forked_child_leaves_its_parents_connection_alone(rabbit: PrivateRabbit) -> None:
    broker = open_broker(rabbit.fresh_url())
    producer = broker.producer()
    producer.publish([message()], 10)
    child = os.fork()
    if child == 0:
        try:
            producer.publish([message()], 10)
            producer.close()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    connection = producer._connection
    producer.publish([message()], 10)
    assert producer._connection is connection
    producer.close()
    assert len(asyncio.run(claim_all(broker))) == 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("guest:guest", "guest:wr%40ng"), r"refuses the login of user 'guest'.*broker_url"),
        (("guest:guest", "nobody:secret"), r"refuses the login of user 'nobody'"),
        (("/faulty", "/no-such"), r"refuses the vhost 'no-such'.*add_vhost"),
    ],
)
def test_a_refused_login_names_the_cure(rabbit: PrivateRabbit, change: tuple[str, str], complaint: str) -> None:
    url = rabbit.vhost_url("faulty").replace(*change)
    broker = open_broker(url)
    with pytest.raises(OperationalError, match=complaint) as caught:
        broker.producer().publish([message()], 5)
    assert not isinstance(caught.value, BrokerUnavailable), "trying again will not help"
    assert "wr%40ng" not in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(OperationalError, match=complaint):
        asyncio.run(broker.consumer().open("worker", [QUEUE]))


def test_nobody_there() -> None:
    broker = open_broker(f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    with pytest.raises(BrokerUnavailable, match="is it running"):
        broker.producer().publish([message()], 5)
    with pytest.raises(BrokerUnavailable, match="is it running"):
        asyncio.run(broker.consumer().open("worker", [QUEUE]))


def test_a_server_that_is_no_rabbitmq() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(100)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(BrokerUnavailable, match="does not speak AMQP"):
            open_broker(f"amqp://127.0.0.1:{port}").producer().publish([message()], 5)
        thread.join()


def test_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = parse(f"amqp://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises((BrokerUnavailable, DeadlinePassed)):
            BlockingConnection(address, time.monotonic() + 0.3, name="test")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("amqp://u:secret@host:port/", "port is no number"),
        ("amqp://u:secret/secret@host/", "%2F"),
        ("amqp://u:secret@host/?heartbeat=3", "unknown option 'heartbeat'"),
        ("amqps://u:secret@host/?verify=maybe", "verify"),
        ("amqps://u:secret@host/?cafile=x", "cacertfile"),
        ("http://u:secret@host/", "amqp://"),
    ],
)
def test_a_wrong_url_is_named_without_its_password(url: str, complaint: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=complaint) as caught:
        parse(url)
    assert "secret" not in str(caught.value)


def test_an_address_shows_itself_without_its_password() -> None:
    assert repr(parse("amqp://shop:secret@h//")) == "Address('amqp://shop:**@h//')"


@pytest.mark.parametrize(
    ("url", "vhost"),
    [("amqp://h", "/"), ("amqp://h/", "/"), ("amqp://h//", "/"), ("amqp://h/%2F", "/"), ("amqp://h/a%2Fb", "a/b")],
)
def test_the_vhost_of_a_url(url: str, vhost: str) -> None:
    assert parse(url).vhost == vhost
