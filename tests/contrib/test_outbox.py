"""The relay and the rows of an outbox, whatever database holds them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client import signals
from celeriac.client.dispatching import Signal
from celeriac.client.task import Task
from celeriac.contrib.outbox import (
    Claim,
    Outbox,
    OutboxRow,
    OutboxState,
    Relay,
    decode_message,
    encode_message,
)
from celeriac.core.unique import Unique
from celeriac.exceptions import (
    BrokerUnavailable,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    OperationalError,
    PublishTimeout,
)
from celeriac.torture.servers.service import wait_until
from tests.client.recording import RecordingBackend, RecordingBroker


class ListStore:
    """An outbox in a list: what the protocol asks for, and no more."""

    def __init__(self) -> None:
        self.rows: list[OutboxRow] = []
        self.held: set[int] = set()
        self.failures: list[Exception] = []
        self.closed = 0
        self.lock = threading.Lock()

    def add(self, row: OutboxRow, using: Any) -> None:
        row.id = len(self.rows) + 1
        self.rows.append(row)

    @contextmanager
    def claim(self, limit: int) -> Iterator[Claim]:
        with self.lock:
            if self.failures:
                raise self.failures.pop(0)
            claim = Claim([row for row in self.rows if row.problem is None and row.id not in self.held][:limit])
            ids = {row.id for row in claim.rows}
            self.held |= ids
        try:
            yield claim
            self.rows = [row for row in self.rows if row.id not in claim.published]
            for row in self.rows:
                row.problem = claim.parked.get(row.id, row.problem)
        finally:
            self.held -= ids

    def state(self) -> OutboxState:
        waiting = [row.created_at for row in self.rows if row.problem is None]
        return OutboxState(len(waiting), len(self.rows) - len(waiting), min(waiting, default=None))

    def peek(self, limit: int) -> list[OutboxRow]:
        return self.rows[:limit]

    def retry(self, task_ids: Collection[str]) -> int:
        raise NotImplementedError

    def purge(self, task_ids: Collection[str], *, everything: bool = False) -> int:
        raise NotImplementedError

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def broker() -> RecordingBroker:
    return RecordingBroker()


@pytest.fixture
def store() -> ListStore:
    return ListStore()


@pytest.fixture
def app(broker: RecordingBroker, store: ListStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    for name in ("DJANGO_SETTINGS_MODULE", "CELERIAC_BROKER_URL", "CELERIAC_RESULT_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    with Celeriac("shop", broker=broker, backend=RecordingBackend(), set_as_current=False) as app:
        app.outbox = Outbox(app, store)
        app.conf.update(publish_timeout_s=0.1, outbox_poll_s=0.01, outbox_backoff_max_s=0.05, outbox_batch_max=3)
        yield app


@pytest.fixture
def add(app: Celeriac) -> Task[..., int]:
    @app.task(name="add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return add


@pytest.fixture
def relay(app: Celeriac, store: ListStore) -> Relay:
    return Relay(app, store)


def sent(broker: RecordingBroker) -> list[str]:
    return [message.id for message in broker.sent.messages]


def test_a_call_is_a_row_until_a_relay_publishes_it(
    add: Task[..., int], broker: RecordingBroker, store: ListStore, relay: Relay
) -> None:
    results = [add.delay_via_outbox(number) for number in range(7)]
    results.append(add.apply_async_via_outbox((7,), queue="mail", priority=3, task_id="chosen"))
    assert sent(broker) == []
    assert (store.rows[7].task_id, store.rows[7].task, store.rows[7].queue) == ("chosen", "add", "mail")
    assert relay.relay_all() == 8
    assert sent(broker) == [result.id for result in results]
    assert [len(batch) for batch in broker.sent.batches] == [3, 3, 2]
    assert store.rows == []
    last = broker.sent.messages[-1]
    assert (last.queue, last.priority) == ("mail", 3)


def test_the_message_is_the_one_that_a_call_would_have_sent(
    add: Task[..., int], broker: RecordingBroker, relay: Relay
) -> None:
    eta = datetime(2099, 1, 1, tzinfo=UTC)
    options: Any = {"task_id": "one", "eta": eta, "headers": {"tenant": 5}, "link": [add.s(1)], "shadow": "sum"}
    add.apply_async((1,), {"y": 2}, **options)
    add.apply_async_via_outbox((1,), {"y": 2}, **options)
    relay.relay_all()
    direct, relayed = broker.sent.messages
    assert relayed == direct


def test_a_message_survives_its_row(add: Task[..., int], app: Celeriac) -> None:
    message = app.message("add", (1,), {"y": 2})
    assert decode_message(encode_message(message)) == message
    message.headers["odd"] = object()
    with pytest.raises(EncodeError, match=r"'add'.*no plain data"):
        encode_message(message)
    for rubbish in (b"", b"\xff", encode_message(message_without_id(app)), b"\x01"):
        with pytest.raises(DecodeError):
            decode_message(rubbish)


def message_without_id(app: Celeriac) -> Any:
    message = app.message("add", (1,))
    del message.headers["id"]
    return message


def test_arguments_are_checked_at_the_call(add: Task[..., int], store: ListStore) -> None:
    untyped: Any = add
    with pytest.raises(TypeError, match="takes no argument 'z'"):
        untyped.delay_via_outbox(z=1)
    with pytest.raises(TypeError, match="'x' is a set"):
        untyped.delay_via_outbox({1})
    assert store.rows == []


def test_without_an_outbox_the_error_names_the_cure(app: Celeriac, add: Task[..., int]) -> None:
    app.outbox = None
    with pytest.raises(ImproperlyConfigured, match=r"task 'add': the app has no outbox.*INSTALLED_APPS.*SQLAlchemy"):
        add.delay_via_outbox(1)


def test_a_relay_that_dies_before_it_deletes_publishes_again_under_the_same_id(
    app: Celeriac, add: Task[..., int], broker: RecordingBroker, store: ListStore
) -> None:
    result = add.delay_via_outbox(1)

    class PowerCut(BaseException):
        pass

    class DyingRelay(Relay):
        def _publish(self, claim: Claim) -> OperationalError | None:
            super()._publish(claim)
            raise PowerCut

    with pytest.raises(PowerCut):
        DyingRelay(app, store).relay_batch()
    assert len(store.rows) == 1
    assert Relay(app, store).relay_all() == 1
    assert sent(broker) == [result.id, result.id]


def test_rows_stay_while_the_broker_is_away(
    add: Task[..., int], broker: RecordingBroker, store: ListStore, relay: Relay
) -> None:
    for number in range(4):
        add.delay_via_outbox(number)
    broker.sent.failures = [BrokerUnavailable("away")] * 1000
    with pytest.raises(BrokerUnavailable):
        relay.relay_all()
    broker.sent.failures = [PublishTimeout("perhaps")]
    with pytest.raises(PublishTimeout):
        relay.relay_all()
    assert len(store.rows) == 4
    assert relay.relay_all() == 4
    assert len(set(sent(broker))) == 4


def test_a_row_that_can_not_be_published_is_set_aside_and_stops_nobody(
    add: Task[..., int], broker: RecordingBroker, store: ListStore, relay: Relay
) -> None:
    good = [add.delay_via_outbox(0).id]
    unreadable = add.delay_via_outbox(1)
    store.rows[1].message = b"rubbish"
    good += [add.delay_via_outbox(number).id for number in (2, 3, 4)]
    # The broker refuses the next batch, and of its messages the first.
    broker.sent.failures = [ValueError("no such vhost"), ValueError("no such queue")]
    relay.relay_all()
    assert {row.task_id: row.problem for row in store.rows} == {
        unreadable.id: "DecodeError: the row holds no message: Expected `array`, got `int`",
        good[0]: "ValueError: no such queue",
    }
    assert sent(broker) == good[1:]


def test_a_broker_that_goes_away_between_single_messages_costs_nothing(
    add: Task[..., int], broker: RecordingBroker, store: ListStore, relay: Relay
) -> None:
    ids = [add.delay_via_outbox(number).id for number in range(3)]
    broker.sent.failures = [ValueError("a batch")]
    publish, calls = broker.sent.publish, []

    def second_fails(messages: Any, timeout_s: float) -> None:
        calls.append(messages)
        if len(calls) == 3:
            raise PublishTimeout("away")
        publish(messages, timeout_s)

    broker.sent.publish = second_fails  # type: ignore[method-assign]
    with pytest.raises(PublishTimeout):
        relay.relay_all()
    assert [row.task_id for row in store.rows] == ids[1:]
    assert relay.relay_all() == 2
    assert sent(broker) == ids


def test_a_running_relay_goes_through_trouble_and_says_how_much_waits(
    add: Task[..., int],
    broker: RecordingBroker,
    store: ListStore,
    relay: Relay,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker.sent.failures = [BrokerUnavailable("away")] * 3
    store.failures = [OSError("database away")]
    for number in range(5):
        add.delay_via_outbox(number)
    store.rows[0].created_at -= 90
    with caplog.at_level(logging.WARNING, "celeriac.outbox"):
        relay.start()
        wait_until(lambda: not store.rows, "everything is relayed")
        relay.stop()
        relay.stop()
    texts = [record.getMessage() for record in caplog.records]
    assert "outbox: 5 messages wait, the oldest for 90 s; trying again in " in texts[0]
    assert "database away" in texts[0]
    assert any("the relay is behind" in text for text in texts)
    assert len(set(sent(broker))) == 5
    assert store.closed >= 2  # after the trouble, and at the end


def test_a_relay_stops_at_once_although_it_waits(app: Celeriac, relay: Relay) -> None:
    app.conf.outbox_poll_s = 600.0
    relay.start()
    started = time.monotonic()
    relay.stop()
    assert time.monotonic() - started < 60
    assert not any(thread.name == "celeriac-outbox" for thread in threading.enumerate())


def test_relays_share_the_work(app: Celeriac, add: Task[..., int], broker: RecordingBroker, store: ListStore) -> None:
    results = [add.delay_via_outbox(number) for number in range(50)]
    relays = [Relay(app, store) for _ in range(4)]
    for relay in relays:
        relay.start()
    wait_until(lambda: not store.rows, "everything is relayed")
    for relay in relays:
        relay.stop()
    assert sorted(sent(broker)) == sorted(result.id for result in results)


def test_a_task_that_writes_into_the_outbox_knows_its_child(app: Celeriac, add: Task[..., int]) -> None:
    children: list[Any] = []

    @app.task(bind=True)
    def parent(self: Any) -> str:
        result = add.delay_via_outbox(1)
        children.extend(self.request.children)
        return result.id

    made = parent.apply().get()
    assert [child[0][0] for child in children] == [made]


def test_a_unique_task_takes_its_key_when_it_is_relayed(
    app: Celeriac, broker: RecordingBroker, store: ListStore, relay: Relay, tmp_path: Path
) -> None:
    app.conf.coordination_url = f"sqlite:///{tmp_path}/keys.db"

    @app.task(unique=Unique(on_conflict="raise"))
    def once(x: int) -> None: ...

    first = once.delay_via_outbox(1)
    once.delay_via_outbox(1)
    third = once.delay_via_outbox(3)
    relay.relay_all()
    assert sent(broker) == [first.id, third.id]
    assert store.rows == []


def test_listeners_hear_of_the_call_where_it_is_made_and_of_the_message_when_it_is_sent(
    add: Task[..., int], broker: RecordingBroker, relay: Relay
) -> None:
    heard: list[str] = []

    def before(headers: dict[str, Any], **_named: Any) -> None:
        headers["trace"] = "t1"
        heard.append("before")

    def after(headers: dict[str, Any], **_named: Any) -> None:
        heard.append(f"after {headers['trace']}")

    with listening(signals.before_task_publish, before), listening(signals.after_task_publish, after):
        add.delay_via_outbox(1)
        assert heard == ["before"]
        relay.relay_all()
    assert heard == ["before", "after t1"]
    assert broker.sent.messages[0].headers["trace"] == "t1"


@contextmanager
def listening(signal: Signal, receiver: Any) -> Iterator[None]:
    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)
