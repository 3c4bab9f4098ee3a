"""Calls of unique tasks where they are made: which are the same, and what happens to the key when sending fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celeriac, Unique
from celeriac.client.unique import read_mark, unique_store
from celeriac.core.unique import Answer, Take
from celeriac.exceptions import (
    ArgumentError,
    BrokerUnavailable,
    CoordinationUnavailable,
    DuplicateTask,
    ImproperlyConfigured,
    PublishTimeout,
)
from tests.client.recording import RecordingBackend, RecordingBroker


@pytest.fixture
def app(broker: RecordingBroker, backend: RecordingBackend) -> Iterator[Celeriac]:
    with Celeriac("shop", broker=broker, backend=backend, coordination_url="memory://", publish_timeout_s=0.2) as app:
        yield app


def test_a_second_call_is_not_sent(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(unique=True)
    def pay(order_id: int, currency: str = "EUR") -> None: ...

    first = pay.delay(1)
    for same in (pay.delay(order_id=1), pay.delay(1, "EUR"), pay.s(1).delay(), app.send_task(pay.name, [1])):
        assert (same.id, same.was_duplicate) == (first.id, True)
    assert asyncio.run(pay.adelay(1)).was_duplicate
    assert not pay.delay(2).was_duplicate
    assert not pay.delay(1, "USD").was_duplicate
    assert len(broker.sent.messages) == 3
    assert not first.was_duplicate


def test_a_message_tells_its_key(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(unique=Unique(by="order_id", until="started", on_conflict="replace", window_s=5))
    def pay(order_id: int, note: str = "") -> None: ...

    pay.delay(1, note="a")
    pay.apply_async((1, "b"), expires=100)
    first, second = (message.headers["celeriac_unique"] for message in broker.sent.messages)
    assert first == {**first, "until": "started", "on_conflict": "replace", "expires_s": 86_400.0, "window_s": 5.0}
    assert first["key"].startswith(f"{pay.name}:")
    assert second["key"] == first["key"]
    assert 99 < second["expires_s"] <= 100


def test_times_beyond_all_measure_are_cut(app: Celeriac, broker: RecordingBroker) -> None:
    """A worker takes no message that claims a key for longer."""

    @app.task(unique=Unique(until=1e12))
    def pay(order_id: int) -> None: ...

    app.conf.task_unique_expires_s = 1e12
    pay.delay(1)
    pay.apply_async((2,), unique=True)
    assert all(read_mark(message.headers) is not None for message in broker.sent.messages)
    assert not pay.delay(3).was_duplicate


def test_a_task_that_is_not_unique_has_no_mark(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(unique=False)
    def pay(order_id: int) -> None: ...

    pay.delay(1)
    pay.apply_async((1,), unique=None)
    assert all("celeriac_unique" not in message.headers for message in broker.sent.messages)
    pay.apply_async((1,), unique=True)
    with pytest.raises(DuplicateTask, match=r"pay' was not sent: it is unique, and the call .* has the same key"):
        pay.apply_async((1,), unique=Unique(on_conflict="raise"))


def test_a_task_known_by_name_only(app: Celeriac, broker: RecordingBroker) -> None:
    given: Any = {"unique": Unique(by="order_id")}
    first = app.send_task("elsewhere.pay", kwargs={"order_id": 1, "note": "a"}, **given)
    assert app.send_task("elsewhere.pay", kwargs={"order_id": 1, "note": "b"}, **given).id == first.id
    assert not app.send_task("elsewhere.refund", kwargs={"order_id": 1}, **given).was_duplicate
    with pytest.raises(ArgumentError, match=r"by='order_id'.* names no argument of this call"):
        app.send_task("elsewhere.pay", [1], **given)


def test_what_makes_calls_the_same_is_checked(app: Celeriac) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"pay'.*by='oder_id'.*did you mean 'order_id'"):

        @app.task(unique=Unique(by="oder_id"))
        def pay(order_id: int) -> None: ...

    @app.task(unique=Unique(by=lambda order_id: order_id["nothing"]))
    def refund(order_id: Any) -> None: ...

    with pytest.raises(ArgumentError, match=r"refund': the function of Unique\(by=...\) raised KeyError"):
        refund.delay({})


def test_a_broker_that_can_not_keep_keys(broker: RecordingBroker, backend: RecordingBackend) -> None:
    with Celeriac("shop", broker=broker, backend=backend) as app:

        @app.task(unique=True)
        def pay(order_id: int) -> None: ...

        with pytest.raises(ImproperlyConfigured, match=r"pay', which is unique, needs .*coordination_url="):
            pay.delay(1)
        assert not broker.sent.messages


@pytest.mark.parametrize("is_async", [False, True])
def test_a_call_that_was_not_sent_gives_its_key_back(app: Celeriac, broker: RecordingBroker, is_async: bool) -> None:
    @app.task(unique=True)
    def pay(order_id: int) -> None: ...

    broker.sent.failures += [BrokerUnavailable("away")] * 100
    with pytest.raises(BrokerUnavailable):
        asyncio.run(pay.adelay(1)) if is_async else pay.delay(1)
    broker.sent.failures.clear()
    assert not pay.delay(1).was_duplicate


def test_a_replaced_call_comes_back_when_its_successor_was_not_sent(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(unique=Unique(on_conflict="replace"))
    def pay(order_id: int) -> None: ...

    first = pay.delay(1)
    broker.sent.failures += [BrokerUnavailable("away")] * 100
    with pytest.raises(BrokerUnavailable):
        pay.delay(1)
    broker.sent.failures.clear()
    assert pay.apply_async((1,), unique=True).id == first.id


def test_a_call_with_an_unknown_outcome_keeps_its_key_for_a_while(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(unique=True)
    def pay(order_id: int) -> None: ...

    broker.sent.failures.append(PublishTimeout("silence"))
    with pytest.raises(PublishTimeout):
        pay.apply_async((1,), task_id="mine")
    assert pay.delay(1).id == "mine"
    assert not pay.apply_async((1,), task_id="mine").was_duplicate  # trying again with the same id is safe
    assert [message.id for message in broker.sent.messages] == ["mine"]


def test_a_call_that_was_cancelled_gives_its_key_back(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(unique=True)
    def pay(order_id: int) -> None: ...

    broker.sent.gate.clear()

    async def cancel() -> None:
        call = asyncio.create_task(pay.adelay(1))
        await asyncio.to_thread(broker.sent.entered.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(cancel())
    broker.sent.gate.set()
    assert not pay.delay(1).was_duplicate


def test_a_call_that_is_cancelled_while_it_takes_its_key_gives_it_back(
    app: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(unique=True)
    def pay(order_id: int) -> None: ...

    store = unique_store(app, pay.name)
    apply = store.apply
    asked, go_on = threading.Event(), threading.Event()

    def apply_slowly(*args: Any) -> list[Answer]:
        asked.set()
        assert go_on.wait(10)
        return apply(*args)

    async def cancel() -> None:
        call = asyncio.create_task(pay.adelay(1))
        await asyncio.to_thread(asked.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()

    with monkeypatch.context() as patch:
        patch.setattr(store, "apply", apply_slowly)
        asyncio.run(cancel())  # which waits for the thread
    assert not pay.delay(1).was_duplicate


def test_a_key_that_may_have_been_taken_unheard_is_given_back_by_the_next_call(
    app: Celeriac, broker: RecordingBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(unique=True)
    def pay(order_id: int) -> None: ...

    store = unique_store(app, pay.name)
    apply = store.apply

    def apply_unheard(*args: Any) -> list[Answer]:
        apply(*args)
        raise CoordinationUnavailable("it did not answer in time")

    with monkeypatch.context() as patch:
        patch.setattr(store, "apply", apply_unheard)
        for _ in range(2):
            with pytest.raises(CoordinationUnavailable):
                pay.delay(1)
    assert not broker.sent.messages
    assert not pay.delay(1).was_duplicate
    assert pay.delay(1).was_duplicate


def test_eager_calls_all_run(app: Celeriac) -> None:
    ran = []

    @app.task(unique=Unique(until=60))
    def pay(order_id: int) -> None:
        ran.append(order_id)

    app.conf.task_always_eager = True
    for _ in range(2):
        assert not pay.delay(1).was_duplicate
    assert ran == [1, 1]


def test_an_app_has_one_store(app: Celeriac) -> None:
    store = unique_store(app, "shop.pay")
    assert store is unique_store(app, "shop.pay")
    assert store.apply([Take("k", "a", 1.0, 0.0, "drop")], 1.0) == [Answer("taken")]
