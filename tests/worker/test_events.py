"""Events of a worker: whose end is told by whom, and what becomes of them when nobody takes them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celeriac, chord, signals
from celeriac.core.addresses import event_mailbox
from celeriac.torture.servers.service import wait_until
from celeriac.wire.event import decode_events
from celeriac.worker.events.sender import EventSender
from celeriac.worker.worker import EmbeddedWorker
from tests.services import PrivateRedis

NODE = "one@here"
MAX_BYTES = 1_000_000

Event = dict[str, Any]


class Ear:
    """Hears events through a messenger of its own."""

    def __init__(self, app: Celeriac) -> None:
        self._messenger = app.broker.messenger()
        self._mailbox = event_mailbox(app.settings, "ear")
        self.heard: list[Event] = []

    async def open(self) -> None:
        await self._messenger.open([self._mailbox])

    async def hear(self) -> list[Event]:
        """Wait for the next events."""
        for letter in await self._messenger.receive():
            self.heard += decode_events(letter, ["json"], MAX_BYTES)
        return self.heard

    async def hear_until(self, kind: str) -> list[Event]:
        """Hear until an event of this type is among them."""
        async with asyncio.timeout(30):
            while not any(event["type"] == kind for event in self.heard):
                await self.hear()
        return self.heard

    async def close(self) -> None:
        await self._messenger.close()


def story(app: Celeriac, until: str, tell: Any) -> list[Event]:
    """Run a worker that sends events, have `tell` do something, and return what was told, to the event of that type."""

    async def listen() -> list[Event]:
        ear = Ear(app)
        await ear.open()
        worker = EmbeddedWorker(app, hostname=NODE, threads=2)
        await asyncio.to_thread(worker.start)
        try:
            await asyncio.to_thread(tell)
            return await ear.hear_until(until)
        finally:
            await asyncio.to_thread(worker.stop)
            await ear.close()

    return asyncio.run(listen())


def of(events: list[Event], task_id: str) -> list[str]:
    return [event["type"].removeprefix("task-") for event in events if event.get("uuid") == task_id]


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("events", broker="memory://", backend="memory://", worker_send_task_events=True) as app:
        yield app


# -- what is told -----------------------------------------------------------------------------------------------------


def test_a_hard_limit_and_a_chord(app: Celeriac) -> None:
    ids: dict[str, str] = {}

    @app.task(name="over", time_limit=0.3)
    def over() -> None:
        while True:
            time.sleep(0.01)

    @app.task(name="one")
    def one() -> int:
        return 1

    @app.task(name="last")
    def last(_values: list[int]) -> str:
        return "end"

    def tell() -> None:
        ids["over"] = over.delay().id
        body = chord([one.s(), one.s()])(last.s())
        assert body.get(timeout=30) == "end"
        ids["body"] = body.id
        assert body.parent is not None
        ids.update({f"member {number}": member.id for number, member in enumerate(body.parent.results)})

    events = story(app, "task-failed", tell)
    assert of(events, ids["over"]) == ["received", "started", "failed"]
    (failed,) = [event for event in events if event["type"] == "task-failed"]
    assert failed["exception"] == "TimeLimitExceeded(0.3)"
    # With the second member the chord is complete: that is concluded as well, but the member has ended once.
    for name in ("member 0", "member 1", "body"):
        assert of(events, ids[name]) == ["received", "started", "succeeded"]


def test_a_task_may_want_none(app: Celeriac) -> None:
    @app.task(name="quiet", send_events=False)
    def quiet() -> int:
        return 1

    @app.task(name="loud", resultrepr_maxsize=20)
    def loud() -> str:
        return "x" * 1000

    def tell() -> None:
        assert quiet.delay().get(timeout=30) == 1
        loud.delay()

    events = story(app, "task-succeeded", tell)
    assert {event.get("name") for event in events if event["type"] == "task-received"} == {"loud"}
    (ended,) = [event for event in events if event["type"] == "task-succeeded"]
    assert len(ended["result"]) < 40


def test_what_no_event_can_hold_fails_no_task(app: Celeriac) -> None:
    @app.task(name="odd")
    def odd() -> None:
        raise ValueError("half a character: \udcff")

    def tell() -> None:
        odd.delay()

    (failed,) = [event for event in story(app, "task-failed", tell) if event["type"] == "task-failed"]
    assert "half a character" in failed["exception"]


def test_a_heartbeat_is_signalled(app: Celeriac) -> None:
    beats: list[object] = []

    def note(sender: object, **_more: Any) -> None:
        beats.append(sender)

    signals.heartbeat_sent.connect(note)
    try:
        with EmbeddedWorker(app, hostname=NODE):
            wait_until(lambda: bool(beats), "the worker says that it is there")
    finally:
        signals.heartbeat_sent.disconnect(note)
    assert len(beats) >= 2  # and that it leaves


# -- what becomes of them ---------------------------------------------------------------------------------------------


def test_events_are_dropped_and_counted_while_the_broker_stands_still(
    own_redis: PrivateRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """And go on when it does; to tell one never waits."""
    app = Celeriac("events", broker=own_redis.url, event_buffer_max=50, broker_connection_timeout=1.0)

    async def scenario() -> None:
        sender = EventSender(app, NODE, app.clock, app.broker.messenger())
        sending = asyncio.create_task(sender.run())
        ear = Ear(app)
        await ear.open()
        sender.tell({"type": "task-first", "uuid": "1"})
        await ear.hear_until("task-first")
        own_redis.freeze()
        try:
            for number in range(1000):
                sender.tell({"type": "task-many", "uuid": str(number)})
        finally:
            own_redis.thaw()
        assert sender.dropped == 950
        while not any(event["type"] == "task-after" for event in ear.heard):
            sender.tell({"type": "task-after", "uuid": "2"})
            await ear.hear()
        sending.cancel()
        await asyncio.wait([sending])
        await sender.close()
        await ear.close()

    with caplog.at_level(logging.WARNING, "celeriac.worker"):
        asyncio.run(scenario())
    assert len([record for record in caplog.records if "events of tasks were dropped" in record.message]) == 1


def test_one_event_that_cannot_be_written_takes_no_other_along(app: Celeriac) -> None:
    async def scenario() -> None:
        ear = Ear(app)
        await ear.open()
        sender = EventSender(app, NODE, app.clock, app.broker.messenger())
        sending = asyncio.create_task(sender.run())
        for event in ({"type": "task-a"}, {"type": "task-b", "args": object()}, {"type": "task-c"}):
            sender.tell(event)
        assert {event["type"] for event in await ear.hear_until("task-c")} == {"task-a", "task-c"}
        assert sender.dropped == 1
        sending.cancel()
        await asyncio.wait([sending])
        await sender.close()
        await ear.close()

    asyncio.run(scenario())
