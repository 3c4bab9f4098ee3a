"""Cases of the broker suite: letters, which are for whoever listens now."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from celeriac.core.mailbox import Address, Mailbox
from celeriac.core.message import Message
from celeriac.core.ports import Broker, Messenger
from celeriac.exceptions import OperationalError
from celeriac.testing.broker_base import BrokerCases, CutConnections

REQUESTS: Final = Address("suite.requests", "fanout")
REPLIES: Final = Address("suite.replies", "direct")
NEWS: Final = Address("suite.news", "topic", durable=True)


def letter(text: str, address: Address, key: str = "") -> Message:
    """Return a letter as whoever sends one builds it."""
    headers = {"clock": 7, "ticket": text, "nothing": None}
    return Message("", headers, text.encode(), {"delivery_mode": 1}, "text/plain", "utf-8", address.exchange, key)


def requests_box(node: str = "") -> Mailbox:
    """Return a mailbox that gets everything sent to all."""
    return Mailbox(REQUESTS, f"{node or uuid.uuid4().hex}.{REQUESTS.exchange}", expires_s=10.0)


def replies_box(key: str) -> Mailbox:
    """Return the one mailbox that has a key."""
    return Mailbox(REPLIES, f"{key}.{REPLIES.exchange}", key, expires_s=10.0)


def news_box(pattern: str) -> Mailbox:
    """Return a mailbox that gets what matches."""
    return Mailbox(NEWS, f"suite.{uuid.uuid4().hex}", pattern, ttl_s=5.0, expires_s=60.0)


def texts(letters: Sequence[Message]) -> list[str]:
    """Return what letters say."""
    return [one.body.decode() for one in letters]


class MessengerCases(BrokerCases):
    """From `send` to `receive`."""

    @asynccontextmanager
    async def listening(self, broker: Broker, *mailboxes: Mailbox) -> AsyncIterator[Messenger]:
        """Open a messenger for the time of an `async with` block."""
        messenger = broker.messenger()
        await messenger.open(mailboxes)
        try:
            yield messenger
        finally:
            await messenger.close()

    async def received(self, messenger: Messenger, count: int) -> list[Message]:
        """Receive until so many letters are there."""
        letters: list[Message] = []
        async with asyncio.timeout(self.deadline_s):
            while len(letters) < count:
                letters += await messenger.receive()
        return letters

    def test_everyone_who_listens_gets_what_is_sent_to_all(self, broker: Broker) -> None:
        async def scenario() -> None:
            async with self.listening(broker, requests_box()) as one, self.listening(broker, requests_box()) as other:
                await one.send(REQUESTS, [letter("a", REQUESTS), letter("b", REQUESTS)])
                for messenger in (one, other):
                    letters = await self.received(messenger, 2)
                    assert texts(letters) == ["a", "b"]
                    assert letters[0].headers == {"clock": 7, "ticket": "a", "nothing": None}
                    assert letters[0].content_type == "text/plain"
                    assert (letters[0].queue, letters[0].exchange) == ("", REQUESTS.exchange)

        asyncio.run(scenario())

    def test_a_direct_letter_reaches_the_one_mailbox_that_has_its_key(self, broker: Broker) -> None:
        async def scenario() -> None:
            async with (
                self.listening(broker) as sender,
                self.listening(broker, replies_box("one")) as one,
                self.listening(broker, replies_box("two"), requests_box()) as two,
            ):
                nobodys = letter("nobody's", REPLIES, "three")
                await sender.send(REPLIES, [letter("1", REPLIES, "one"), nobodys, letter("2", REPLIES, "two")])
                assert texts(await self.received(one, 1)) == ["1"]
                assert texts(await self.received(two, 1)) == ["2"]
                await sender.send(REPLIES, [letter("1b", REPLIES, "one"), letter("1c", REPLIES, "one")])
                found = await self.received(one, 2)
                assert sorted(texts(found)) == ["1b", "1c"]
                assert found[0].routing_key == "one"

        asyncio.run(scenario())

    def test_patterns_choose_among_topics(self, broker: Broker) -> None:
        async def scenario() -> None:
            async with (
                self.listening(broker, news_box("#")) as everything,
                self.listening(broker, news_box("worker.#")) as workers,
                self.listening(broker, news_box("task.*")) as tasks,
            ):
                keys = ["worker.online", "task.multi", "task.a.b", "other"]
                await everything.send(NEWS, [letter(key, NEWS, key) for key in keys])
                assert texts(await self.received(everything, 4)) == keys
                await everything.send(NEWS, [letter("last", NEWS, "worker.x"), letter("last", NEWS, "task.x")])
                assert texts(await self.received(workers, 2)) == ["worker.online", "last"]
                assert texts(await self.received(tasks, 2)) == ["task.multi", "last"]

        asyncio.run(scenario())

    def test_what_nobody_listens_for_is_gone(self, broker: Broker) -> None:
        async def scenario() -> None:
            async with self.listening(broker) as sender:
                await sender.send(REQUESTS, [letter("early", REQUESTS)])
                await sender.send(REPLIES, [letter("early", REPLIES, "late")])
                async with self.listening(broker, requests_box(), replies_box("late")) as late:
                    await sender.send(REQUESTS, [letter("r", REQUESTS)])
                    assert texts(await self.received(late, 1)) == ["r"]
                    await sender.send(REPLIES, [letter("a", REPLIES, "late")])
                    assert texts(await self.received(late, 1)) == ["a"]

        asyncio.run(scenario())

    def test_a_cancelled_receive_loses_nothing(self, broker: Broker) -> None:
        async def scenario() -> None:
            async with self.listening(broker, requests_box()) as messenger:
                waiting = asyncio.create_task(messenger.receive())
                await asyncio.sleep(0)
                waiting.cancel()
                await messenger.send(REQUESTS, [letter("a", REQUESTS)])
                assert texts(await self.received(messenger, 1)) == ["a"]

        asyncio.run(scenario())

    def test_a_messenger_that_is_opened_again_listens_elsewhere(self, broker: Broker) -> None:
        async def scenario() -> None:
            async with self.listening(broker) as sender, self.listening(broker, replies_box("old")) as messenger:
                await messenger.open([replies_box("new"), requests_box()])
                await sender.send(REPLIES, [letter("old", REPLIES, "old"), letter("new", REPLIES, "new")])
                assert texts(await self.received(messenger, 1)) == ["new"]

        asyncio.run(scenario())

    def test_a_lost_connection_is_told_and_made_anew(
        self, broker: Broker, cut_connections: CutConnections | None
    ) -> None:
        if cut_connections is None:
            pytest.skip("needs the fixture `cut_connections`")

        async def scenario() -> None:
            box = requests_box("suite@node")
            async with self.listening(broker, box) as messenger:
                await self.in_thread(cut_connections)
                with pytest.raises(OperationalError):
                    await self.received(messenger, 1)
                async with asyncio.timeout(self.deadline_s):
                    while True:
                        try:
                            await messenger.open([box])
                            break
                        except OperationalError:  # the broker may not have noticed yet that the old connection is gone
                            await asyncio.sleep(0.05)
                await messenger.send(REQUESTS, [letter("again", REQUESTS)])
                assert texts(await self.received(messenger, 1)) == ["again"]

        asyncio.run(scenario())
