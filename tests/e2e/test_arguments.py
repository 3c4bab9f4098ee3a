"""Typed arguments, serializers and compression through a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pydantic
import pytest

from celeriac import Celeriac
from celeriac.client.result import AsyncResult
from celeriac.core.message import Message
from celeriac.exceptions import ArgumentError, ContentDisallowed, EncodeError, ImproperlyConfigured
from tests.e2e import raw
from tests.e2e.arguments_app import Address, Colour, Order, OutOfStock, Price, make
from tests.e2e.harness import DEADLINE_S, SETTINGS, Guard, Place, Scene

PROGRAM = "tests.e2e.arguments_app"
AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
UID = UUID("12345678-1234-5678-1234-567812345678")


class Shop:
    """A scene, and the callers' app with the program's tasks."""

    def __init__(self, place: Place, guard: Guard, **settings: Any) -> None:
        self.scene = Scene(place, guard, program=PROGRAM)
        self.app = self.make_app(**settings)
        self.settings = settings

    def make_app(self, **settings: Any) -> Celeriac:
        place = self.scene.place
        return make(broker=place.broker_url, backend=place.backend_url, **{**SETTINGS, **settings})

    def worker(self, *options: str, **changes: Any) -> None:
        self.scene.worker(*(options or ("-c", "1")), settings={**self.settings, **changes})

    def call(self, task: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        return self.app.tasks[f"{PROGRAM}.{task}"].apply_async(args, **{"queue": self.scene.queue, **options})

    def get(self, task: str, *args: Any, **options: Any) -> Any:
        return self.call(task, *args, **options).get(timeout=DEADLINE_S)

    def parked(self) -> str:
        """The reason of the one message that was parked."""
        [letter] = self.scene.until_parked(1)
        return letter.reason

    def close(self) -> None:
        self.app.close()
        self.scene.close()


@pytest.fixture
def shop(place: Place, guard: Guard) -> Iterator[Shop]:
    shop = Shop(place, guard)
    yield shop
    shop.close()


def test_typed_arguments(shop: Shop) -> None:
    shop.worker("-c", "1", "--threads", "1")
    order = Order(1, AT)
    call = (order, Address(street="x", since=date(2026, 1, 2)), Price(Decimal("1.5")), UID, Colour.RED)
    expected = ["Order", "datetime", "Address", "Price", "Decimal", "UUID", "Colour"]
    assert shop.get("typed", *call) == expected
    assert (
        shop.get("typed", {"id": 1, "at": AT.isoformat()}, {"street": "x"}, {"amount": "1"}, str(UID)) == expected[:-1]
    )
    assert shop.get("typed_twice", order) == {"id": 2, "at": AT, "colour": "red"}
    assert shop.get("typed_async", order) == {"amount": Decimal(1), "currency": "EUR"}
    assert shop.get("typed_in_thread", order) == ["Order"]
    assert shop.get("Ship", order) == "Order"
    linked = shop.app.tasks[f"{PROGRAM}.typed_async"].si(order).set(queue=shop.scene.queue)
    assert shop.get("echo", 1, link=linked) == 1
    # The caller is told at once, by the parameter's name; nothing is sent.
    with pytest.raises(ArgumentError, match=r"argument 'order' .* got `str` - at `\$\.id`"):
        shop.call("typed_in_thread", {"id": "x", "at": AT})
    # Who knows only the name is told by the worker.
    result = shop.app.send_task(f"{PROGRAM}.typed_in_thread", ({"id": "x", "at": AT},), queue=shop.scene.queue)
    with pytest.raises(ArgumentError, match="argument 'order'"):
        result.get(timeout=DEADLINE_S)
    assert "ArgumentError: task 'tests.e2e.arguments_app.typed_in_thread': argument 'order'" in shop.parked()
    # Celery's way: any model that does not fit fails the task.
    assert shop.get("with_model", Address(street="x")) == {"street": "x", "since": None}
    with pytest.raises((pydantic.ValidationError, Exception), match="validation error for Address"):
        shop.get("with_model", {"street": 1})


def test_every_serializer_and_compression(place: Place, guard: Guard) -> None:
    if place.name == "sqlite":
        pytest.skip("nothing of this depends on the broker: two of three have to do")
    accept = ["json", "msgpack", "yaml", "pickle"]
    shop = Shop(place, guard, accept_content=accept, task_compression="gzip", result_compression="zlib")
    try:
        shop.worker(result_serializer="pickle")
        shop.app.conf.result_serializer = "pickle"
        for serializer in accept:
            value = {"a": [1, "x", None, b"\xff"], "d": {}}
            assert shop.get("echo", value, serializer=serializer) == value
            assert shop.get("echo_twice", [1], serializer=serializer) == [1, 1]
        # A retry with options of its own is sent in the form in which the call came.
        assert shop.get("echo_elsewhere", {1}, shop.scene.queue, serializer="pickle") == ["set"]
        for compression in ("bzip2", "lzma", "zstd", "brotli"):
            assert shop.get("echo", "x" * 10_000, compression=compression) == "x" * 10_000
        assert shop.get("small", "x" * 100) == 100
        assert shop.get("echo", {1, 2}, serializer="pickle") == {1, 2}
        with pytest.raises(OutOfStock) as caught:
            shop.get("fail")
        assert caught.value.args == ("spoon", 0)
        with pytest.raises(EncodeError, match="did you mean 'gzip'"):
            shop.call("echo", 1, compression="gzpi")
        with pytest.raises(EncodeError, match="did you mean 'pickle'"):
            shop.call("echo", 1, serializer="pickel")
        with pytest.raises(ArgumentError, match="argument 'value' is a set"):
            shop.call("echo", {1})
    finally:
        shop.close()


def test_a_pickle_that_is_not_accepted_is_parked_unread(shop: Shop, tmp_path: Any) -> None:
    shop.worker(accept_content=["json", "yaml"])
    result = shop.call("echo", {1}, serializer="pickle")
    assert "ContentDisallowed: content type 'application/x-python-serialize' is not accepted" in shop.parked()
    with pytest.raises(ContentDisallowed):
        result.get(timeout=DEADLINE_S)
    trace = tmp_path / "trace"
    bomb = raw.Raw(
        b"cos\nmkdir\n(V%s\ntR." % str(trace).encode(),
        {**raw.headers(), "task": f"{PROGRAM}.echo"},
        {},
        "application/x-python-serialize",
        "binary",
    )
    raw.put(shop.scene.place, shop.scene.queue, [bomb])
    shop.scene.until_parked(2)
    assert not trace.exists()


def test_what_could_never_be_read_is_an_error_at_once(shop: Shop) -> None:
    shop.app.conf.accept_content = ["json", "msgpack"]
    with pytest.raises(ImproperlyConfigured, match="accept_content allows json, msgpack; add 'yaml' to accept_content"):
        shop.call("echo", 1, serializer="yaml")
    shop.app.conf.task_serializer = "pickle"
    with pytest.raises(ImproperlyConfigured, match="serializer = 'pickle' could not be read"):
        shop.call("echo", 1)
    # A program that only sends need not say what it accepts.
    sender = shop.make_app(task_serializer="msgpack")
    message: Message = sender.message(f"{PROGRAM}.echo", (1,))
    assert message.content_type == "application/x-msgpack"
    sender.close()
