"""What is particular to one broker's letters: limits, options, and what stands in the store. What is common: the conformance suite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from celeriac.brokers import open_broker
from celeriac.brokers.inbox import Inbox
from celeriac.core.addresses import event_address, event_mailbox
from celeriac.core.ports import Messenger
from celeriac.core.settings import make_settings
from celeriac.exceptions import BrokerUnavailable, OperationalError
from celeriac.wire.event import encode_event
from tests.services import PrivateRedis, wait_until

SETTINGS = make_settings({})
ADDRESS = event_address(SETTINGS)


def event(number: int) -> Any:
    return encode_event({"type": "worker-heartbeat", "hostname": "w@x", "number": number}, ADDRESS.exchange)


def with_messengers(url: str, scenario: Callable[[Messenger, Messenger], Awaitable[None]], **settings: Any) -> None:
    """Run a scenario with one that listens to events and one that sends."""

    async def run() -> None:
        broker = open_broker(url, make_settings(settings))
        receiver, sender = broker.messenger(), broker.messenger()
        try:
            await receiver.open([event_mailbox(SETTINGS, "listener", "worker.#")])
            await sender.open(())
            async with asyncio.timeout(30):
                await scenario(receiver, sender)
        finally:
            await receiver.close()
            await sender.close()

    asyncio.run(run())


def test_an_inbox_that_nobody_reads_drops_the_oldest() -> None:
    async def scenario() -> None:
        inbox = Inbox(3)
        for number in range(5):
            inbox.put(event(number))
        inbox.fail(BrokerUnavailable("gone"))
        assert [one.body for one in await inbox.get()] == [event(number).body for number in (2, 3, 4)]
        assert inbox.dropped == 2
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match="gone"):
                await inbox.get()
        inbox.reset()
        inbox.put(event(6))
        assert len(await inbox.get()) == 1

    asyncio.run(scenario())


# -- SQLite -----------------------------------------------------------------------------------------------------------


def letters_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        number: int = file.execute("SELECT count(*) FROM letters").fetchone()[0]
        return number


def test_the_file_holds_letters_only_while_somebody_listens_and_not_for_long(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"

    async def scenario(receiver: Messenger, sender: Messenger) -> None:
        await sender.send(ADDRESS, [event(1)])
        assert len(await receiver.receive()) == 1
        assert letters_in(path) == 1
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE letters SET expires_at = 1")
        await sender.send(ADDRESS, [event(2)])
        assert letters_in(path) == 1, "what was too old is gone"
        await receiver.close()
        await sender.send(ADDRESS, [event(3)])
        assert letters_in(path) == 1, "nobody listens, so nothing is written"
        with closing(sqlite3.connect(path)) as file:
            assert file.execute("SELECT count(*) FROM mailboxes").fetchone() == (0,)

    with_messengers(f"sqlite:///{path}", scenario)


# -- Redis ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "channel"),
    [
        ({}, "/{db}.celeryev/worker.heartbeat"),
        ({"fanout_prefix": "/mine."}, "/mine.celeryev/worker.heartbeat"),
        ({"fanout_prefix": False}, "celeryev/worker.heartbeat"),
        ({"fanout_patterns": False}, "/{db}.celeryev"),
        ({"global_keyprefix": "shop:"}, "shop:/{db}.celeryev/worker.heartbeat"),
    ],
)
def test_channels_are_named_by_kombus_options(redis_url: str, options: dict[str, Any], channel: str) -> None:
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as listener:
        listener.subscribe(channel.format(db=redis_url.rpartition("/")[2]))
        wait_until(lambda: (listener.get_message() or {}).get("type") == "subscribe", "Redis listens")

        async def scenario(receiver: Messenger, sender: Messenger) -> None:
            other = encode_event({"type": "task-sent", "hostname": "w@x"}, ADDRESS.exchange)
            await sender.send(ADDRESS, [other, event(5)])
            assert [one.routing_key for one in await receiver.receive()] == ["worker.heartbeat"]

        with_messengers(redis_url, scenario, broker_transport_options=options)
        heard: list[object] = []

        def is_heard() -> bool:
            heard.append((listener.get_message() or {}).get("data"))
            return "celeryev" in str(heard)

        wait_until(is_heard, "heard")


def test_what_is_no_letter_is_passed_over(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    channel = f"/{redis_url.rpartition('/')[2]}.celeryev/worker.online"

    async def scenario(receiver: Messenger, sender: Messenger) -> None:
        with redis.Redis.from_url(redis_url) as client:
            for raw in (b"", b"\xff", b"[]", b"{}", b"x" * 3000):
                client.publish(channel, raw)
        await sender.send(ADDRESS, [event(1)])
        assert len(await receiver.receive()) == 1

    with_messengers(redis_url, scenario, event_max_bytes=1000, control_max_bytes=1000)
    assert caplog.text.count("is not read") == 5


def test_a_missing_right_is_named_and_no_connection_left_open(own_redis: PrivateRedis) -> None:
    with redis.Redis.from_url(own_redis.database_url(0)) as client:
        client.acl_setuser(
            "mon", enabled=True, nopass=True, categories=["+@all"], commands=["-psubscribe"], keys="*", channels="*"
        )
        url = f"redis://mon:x@127.0.0.1:{own_redis.port}/0"

        async def scenario() -> None:
            messenger = open_broker(url, SETTINGS).messenger()
            with pytest.raises(OperationalError, match=r"forbids this to user 'mon': .*psubscribe"):
                await messenger.open([event_mailbox(SETTINGS, "listener")])

        asyncio.run(scenario())
        wait_until(lambda: "user=mon" not in str(client.execute_command("CLIENT", "LIST")), "it has left")
