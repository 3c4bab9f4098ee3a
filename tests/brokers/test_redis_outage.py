"""Redis at its worst: gone, frozen, full, silent, or shut to us. Nothing hangs, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import redis

from celeriac.core.effects import ACK, Settlement
from celeriac.core.message import Delivery, Message
from celeriac.exceptions import BrokerUnavailable, OperationalError, PublishTimeout
from celeriac.testing.broker_base import QUEUE, ids, make_message, make_messages
from tests.brokers.redis_worker import DEADLINE_S, claim_all, opened, publish, redis_broker
from tests.services import PrivateRedis, free_port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def publish_one(url: str, timeout_s: float = 0.5) -> None:
    producer = redis_broker(url, broker_connection_timeout=0.5).producer()
    try:
        producer.publish([make_message()], timeout_s)
    finally:
        producer.close()


# -- sending ---------------------------------------------------------------------------------------------------------


def test_a_closed_port_is_unavailable() -> None:
    with pytest.raises(
        BrokerUnavailable, match=r"redis://:\*\*@127.0.0.1:\d+/0 cannot be reached: .*refused"
    ) as caught:
        publish_one(f"redis://:secret@127.0.0.1:{free_port()}/0")
    assert not isinstance(caught.value, PublishTimeout)
    assert "secret" not in str(caught.value)


def test_a_silent_port_is_unavailable(silent_port: int) -> None:
    with pytest.raises(BrokerUnavailable, match="did not answer in time") as caught:
        publish_one(f"redis://127.0.0.1:{silent_port}/0")
    assert not isinstance(caught.value, PublishTimeout), "the message had not been sent yet"


def test_a_host_that_has_no_address_is_unavailable() -> None:
    with pytest.raises(BrokerUnavailable, match=r"'nowhere\.invalid' (cannot be|was not) resolved"):
        publish_one("redis://nowhere.invalid/0")


def test_a_name_server_that_never_answers_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(DEADLINE_S))
    with pytest.raises(BrokerUnavailable, match=r"'redis\.example' was not resolved within the time"):
        publish_one("redis://redis.example/0", timeout_s=0.2)


def test_a_server_that_freezes_leaves_the_outcome_open(own_redis: PrivateRedis) -> None:
    producer = redis_broker(own_redis.url).producer()
    first, second, third = make_messages(3)
    producer.publish([first], DEADLINE_S)
    own_redis.freeze()
    with pytest.raises(PublishTimeout, match="it is not known whether they arrived"):
        producer.publish([second], 0.3)
    with pytest.raises(BrokerUnavailable, match="did not answer in time"):
        producer.publish([third], 0.3)  # a new connection, and its greeting is not answered
    own_redis.thaw()
    producer.publish([third], DEADLINE_S)
    producer.close()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.llen(QUEUE) in (2, 3)


def test_a_wrong_password_names_the_user(needs_redis: None) -> None:
    with PrivateRedis(password="right") as server:
        for url in (f"redis://shop:wrong@127.0.0.1:{server.port}/0", f"redis://127.0.0.1:{server.port}/0"):
            with pytest.raises(OperationalError, match=r"refused user '(shop|default)': (WRONGPASS|NOAUTH)") as caught:
                publish_one(url)
            assert not isinstance(caught.value, BrokerUnavailable), "trying again does not help"
            assert "wrong" not in str(caught.value).replace("WRONGPASS", "")

            async def scenario(url: str = url) -> None:
                with pytest.raises(OperationalError, match="correct user name and password in the URL"):
                    await redis_broker(url).consumer().open("test@0", [QUEUE])

            asyncio.run(scenario())
        publish_one(server.url)


def test_something_that_is_no_redis() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_as_a_web_server() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    while connection.recv(1024):
                        pass

        thread = threading.Thread(target=answer_as_a_web_server)
        thread.start()
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        with pytest.raises(BrokerUnavailable, match="does not speak Redis' protocol"):
            asyncio.run(redis_broker(url).consumer().open("test@0", [QUEUE]))
        with pytest.raises(BrokerUnavailable, match="does not speak Redis' protocol"):
            publish_one(url)
        thread.join()


def test_a_forked_child_uses_connections_of_its_own(redis_url: str) -> None:
    producer = redis_broker(redis_url).producer()
    mine, childs = make_message(), make_message()
    producer.publish([mine], DEADLINE_S)
    with redis.Redis.from_url(redis_url) as client:
        connections = int(client.info("stats")["total_connections_received"])
        child = os.fork()
        if child == 0:
            try:
                producer.publish([childs], DEADLINE_S)
                producer.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert int(client.info("stats")["total_connections_received"]) == connections + 1
        producer.publish([make_message()], DEADLINE_S)  # the parent's connection is as it was
        assert int(client.info("stats")["total_connections_received"]) == connections + 1
        assert client.llen(QUEUE) == 3
    producer.close()


def test_a_restart_between_two_publishes_is_not_noticed(own_redis: PrivateRedis) -> None:
    producer = redis_broker(own_redis.url).producer()
    producer.publish([make_message()], DEADLINE_S)
    own_redis.kill()
    own_redis.start()
    producer.publish([make_message()], DEADLINE_S)
    producer.close()


# -- a full server -----------------------------------------------------------------------------------------------------


def test_a_full_server_refuses_senders_and_is_emptied_by_workers(needs_redis: None) -> None:
    with PrivateRedis(options=("--maxmemory", "6mb")) as server:
        sent: list[Message] = []
        producer = redis_broker(server.url).producer()
        with pytest.raises(BrokerUnavailable, match=r"is full: OOM .*raise its maxmemory, or purge"):
            while True:
                batch = make_messages(20)
                producer.publish(batch, DEADLINE_S)
                sent += batch
        producer.close()

        async def scenario() -> None:
            # A worker that starts now, one that dies, one that parks: all of it works on a full server.
            settings = {"result_backend": server.database_url(1)}
            async with opened(server.url, **settings) as worker:
                with pytest.raises(BrokerUnavailable, match="is full"):
                    while True:  # the sender's buffers are free again
                        one_more = make_message()
                        await worker.publish([one_more])
                        sent.append(one_more)
                claimed: list[Delivery] = []
                while some := await worker.claim(100, 0.1):
                    claimed += some
                    assert await worker.heartbeat()
                assert ids(claimed) == ids(sent)
                record = Settlement(claimed[0].tag, ACK, [make_message("after")], [])
                rest = [Settlement(delivery.tag, ACK) for delivery in claimed[1:]]
                assert await worker.settle([record, *rest]) == []
                await worker.release()

        asyncio.run(scenario())
        publish(server.url, make_messages(20))


# -- a server that dies ------------------------------------------------------------------------------------------------


def test_a_killed_server_is_found_again_with_all_that_was_claimed(own_redis: PrivateRedis) -> None:
    messages = make_messages(30)
    publish(own_redis.url, messages)

    async def scenario() -> None:
        async with opened(own_redis.url, worker_lease_s=2.0) as consumer:
            held = await claim_all(consumer, 10)
            waiting = asyncio.create_task(consumer.claim(0, 600.0))
            await asyncio.sleep(0)
            await asyncio.to_thread(own_redis.kill)
            with pytest.raises(BrokerUnavailable):
                await waiting
            for call in (consumer.heartbeat, consumer.maintain, consumer.revocations):
                with pytest.raises(BrokerUnavailable, match="cannot be reached"):
                    await call()
            await asyncio.to_thread(own_redis.start)
            assert await consumer.heartbeat(), "nobody has taken over anything"
            assert await consumer.settle([Settlement(delivery.tag, ACK) for delivery in held]) == []
            rest = await claim_all(consumer, 20)
            assert ids(held + rest) == ids(messages)
            assert await consumer.settle([Settlement(delivery.tag, ACK) for delivery in rest]) == []

    asyncio.run(scenario())


def test_a_server_that_lost_its_memory_is_a_lost_lease(own_redis: PrivateRedis) -> None:
    publish(own_redis.url, make_messages(1))

    async def scenario() -> None:
        async with opened(own_redis.url) as consumer:
            (claimed,) = await claim_all(consumer, 1)
            with redis.Redis.from_url(own_redis.url) as client:
                client.flushall()
            assert await consumer.settle([Settlement(claimed.tag, ACK)])
            assert not await consumer.heartbeat()
            await asyncio.to_thread(publish, own_redis.url, make_messages(1))
            assert len(await claim_all(consumer, 1)) == 1

    asyncio.run(scenario())


def test_a_frozen_server_is_given_up_and_found_again(own_redis: PrivateRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.transports.redis.connection.ANSWER_S", 0.3)
    messages = make_messages(2)
    publish(own_redis.url, messages)

    async def scenario() -> None:
        async with opened(own_redis.url, worker_lease_s=60.0, broker_connection_timeout=0.5) as consumer:
            (first,) = await consumer.claim(1, 1.0)
            own_redis.freeze()
            with pytest.raises(BrokerUnavailable, match=r"did not answer within 0.3 s"):
                await consumer.claim(1, 5.0)
            with pytest.raises(BrokerUnavailable, match=r"(no connection|did not answer) within"):
                await consumer.settle([Settlement(first.tag, ACK)])
            own_redis.thaw()
            assert await consumer.heartbeat()
            (second,) = await claim_all(consumer, 1)
            assert ids([first, second]) == ids(messages)
            assert await consumer.settle([Settlement(d.tag, ACK) for d in (first, second)]) == []

    asyncio.run(scenario())
