"""`validate=True`: type hints check and convert arguments, in the caller and where the task runs."""

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, Unpack
from uuid import UUID

import msgspec
import pydantic
import pytest

from celeriac import Celeriac, Task
from celeriac.exceptions import ArgumentError, EncodeError, ImproperlyConfigured
from celeriac.wire import task_v2
from tests.client.recording import RecordingBroker

UID = UUID("12345678-1234-5678-1234-567812345678")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass
class Line:
    article: str
    count: int = 1


@dataclass
class Order:
    id: int
    lines: list[Line] = field(default_factory=list)
    at: datetime | None = None
    colour: Colour = Colour.RED


@dataclass
class Parcel:
    weight: Decimal


class Address(pydantic.BaseModel):
    street: str
    since: date | None = None


class Customer(msgspec.Struct):
    name: str
    address: Address | None = None


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    name: str


class Point(NamedTuple):
    x: int
    y: int = 0


class Foreign:
    """Nothing tells how to make one."""


class Options(TypedDict, total=False):
    fast: bool
    due: date


def round_trip(
    app: Celeriac, broker: RecordingBroker, hint: Any, value: Any, serializer: str = "json"
) -> tuple[Any, Any]:
    """Send a value to a task whose parameter has the hint; return what is in the message, and what the function gets."""
    seen = []

    def take(value: Any) -> None:
        seen.append(value)

    take.__annotations__["value"] = hint
    task = app.task(validate=True, name=f"take-{len(app.tasks)}")(take)
    task.apply_async((value,), serializer=serializer)
    sent = task_v2.decode_body(broker.sent.messages[-1], [serializer])[0]
    assert task.conversion is not None
    args, _ = task.conversion.load_arguments(sent, {})
    task.run(*args)
    return sent[0], seen[0]


KINDS: list[tuple[Any, Any, Any]] = [
    (Order, Order(1, [Line("a")], NOW), {"id": 1, "lines": [{"article": "a", "count": 1}], "at": NOW, "colour": "red"}),
    (Order | None, None, None),
    (Address, Address(street="x", since=date(2026, 1, 2)), {"street": "x", "since": "2026-01-02"}),
    (list[Address], [Address(street="x")], [{"street": "x", "since": None}]),
    (Address | int, Address(street="x"), {"street": "x", "since": None}),
    (Customer, Customer("c", Address(street="x")), {"name": "c", "address": {"street": "x", "since": None}}),
    (dict[str, Customer], {"a": Customer("c")}, {"a": {"name": "c", "address": None}}),
    (Cat | Dog, Dog("d"), {"type": "Dog", "name": "d"}),
    (Order | Parcel, Parcel(Decimal("1.5")), {"weight": Decimal("1.5")}),
    (Point, Point(1, 2), [1, 2]),
    (Options, {"fast": True, "due": date(2026, 1, 2)}, {"fast": True, "due": date(2026, 1, 2)}),
    (Colour, Colour.RED, "red"),
    (Level, Level.HIGH, 3),
    (datetime, NOW, NOW),
    (date, date(2026, 1, 2), date(2026, 1, 2)),
    (time, time(1, 2), time(1, 2)),
    (timedelta, timedelta(minutes=5), "PT300S"),
    (UUID, UID, UID),
    (Decimal, Decimal("1.10"), Decimal("1.10")),
    (bytes, b"\xff\x00", b"\xff\x00"),
    (Literal["a", 1], "a", "a"),
    (int | str | None, "x", "x"),
    (datetime | str, "2026-01-01", "2026-01-01"),
    (set[int], {3}, [3]),
    (frozenset[Colour], frozenset({Colour.RED}), ["red"]),
    (tuple[int, Line], (1, Line("a")), [1, {"article": "a", "count": 1}]),
    (tuple[int, ...], (1, 2), [1, 2]),
    (Sequence[Line], [Line("a")], [{"article": "a", "count": 1}]),
    (dict[int, UUID], {1: UID}, {"1": UID}),
    (float, 1, 1),
    (Path, Path("/x"), "/x"),
    (Any, {"x": NOW}, {"x": NOW}),
]


@pytest.mark.parametrize(("hint", "value", "plain"), KINDS, ids=[str(kind[0]) for kind in KINDS])
@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml"])
def test_every_kind_there_and_back(
    app: Celeriac, broker: RecordingBroker, hint: Any, value: Any, plain: Any, serializer: str
) -> None:
    if hint is Any and serializer == "msgpack":
        pytest.skip("what is not typed is the serializer's business")
    sent, got = round_trip(app, broker, hint, value, serializer)
    assert got == value
    assert type(got) is type(value) or hint is float
    if serializer == "json":
        assert sent == plain


WRONG: list[tuple[Any, Any, str]] = [
    (Order, {"id": "1"}, "argument 'value' of type dict does not fit .*Order: Expected `int`, got `str` - at `\\$.id`"),
    (Order, {"lines": []}, "missing required field `id`"),
    (Order, 5, "of type int does not fit .*Order"),
    (Order, Customer("x"), "of type .*Customer does not fit .*Order"),
    (int, "1", "of type str does not fit int: Expected `int`, got `str`"),
    (int, True, "Expected `int`, got `bool`"),
    (Address, {"street": 1}, "valid string, got `int` - at `\\$.street`"),
    (list[Address], [{"street": "x"}, {}], "Field required, got `dict` - at `\\$\\[1\\].street`"),
    (Colour, "blue", "Invalid enum value 'blue'"),
    (Literal["a"], "b", "Invalid enum value 'b'"),
    (UUID, "no", "Invalid UUID"),
    (date, "soon", "Invalid RFC3339"),
    (list[int], [1, "2"], "got `str` - at `\\$\\[1\\]`"),
    (Order | Parcel, {"x": 1}, "missing required field"),
    (set[int], object(), "object"),
    (datetime | str, 5, "Expected"),
]


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle"])
def test_keys_may_be_what_a_serializer_carries_as_values_only(
    app: Celeriac, broker: RecordingBroker, serializer: str
) -> None:
    value = {UID: {NOW.date(): [b"\xff"]}}
    sent, got = round_trip(app, broker, dict[UUID, dict[date, list[bytes]]], value, serializer)
    assert sent == {str(UID): {"2026-01-02": [b"\xff" if serializer == "msgpack" else "/w=="]}}
    assert got == value


@pytest.mark.parametrize(
    ("hint", "value", "text"), WRONG, ids=[f"{number} {text}"[:60] for number, (_, _, text) in enumerate(WRONG)]
)
def test_what_does_not_fit_is_refused_in_the_caller(
    app: Celeriac, broker: RecordingBroker, hint: Any, value: Any, text: str
) -> None:
    def take(value: Any) -> None: ...

    take.__annotations__["value"] = hint
    task = app.task(validate=True)(take)
    with pytest.raises(ArgumentError, match=f"calling '.*take': .*{text}"):
        task.delay(value)
    with pytest.raises(ArgumentError, match=text):
        task.delay(value=value)
    assert broker.sent.messages == []
    assert task.conversion is not None
    if not isinstance(value, Customer) and type(value) is not object:  # what cannot come out of a message
        with pytest.raises(ArgumentError, match=r"^task '.*take': argument 'value'"):
            task.conversion.load_arguments([value], {})


def test_members_that_cannot_be_told_apart_are_refused(app: Celeriac) -> None:
    @dataclass
    class Box:
        weight: Decimal

    def take(value: Parcel | Box) -> None: ...

    task = app.task(validate=True)(take)
    task.delay(Parcel(Decimal(1)))
    with pytest.raises(ArgumentError, match="would become a Parcel; use msgspec Structs with tags"):
        task.delay(Box(Decimal(1)))


def test_all_kinds_of_parameters(app: Celeriac) -> None:
    class More(TypedDict, total=False):
        level: Level

    seen: list[Any] = []

    @app.task(validate=True, bind=True)
    def take(
        self: "NoSuchName",  # type: ignore[name-defined]  # noqa: F821 - never looked at
        line: Line,
        /,
        count: int = 1,
        *rest: UUID,
        at: date,
        colour: Colour = Colour.RED,
        **more: Unpack[More],
    ) -> None:
        seen.extend([line, count, rest, at, colour, more, self.request.args, self.request.kwargs])

    given = (Line("a"), 2, UID), {"at": date(2026, 1, 2), "level": Level.HIGH}
    take.apply(*given).get()
    line, count, rest, at, colour, more, args, kwargs = seen
    assert (line, count, rest, at, colour) == (Line("a"), 2, (UID,), date(2026, 1, 2), Colour.RED)
    assert more == {"level": Level.HIGH}
    assert list(args) == [{"article": "a", "count": 1}, 2, UID]  # the request tells what came
    assert kwargs == {"at": date(2026, 1, 2), "level": 3}
    for args, kwargs, name in (
        ((Line("a"), "2"), {"at": date(2026, 1, 2)}, "count"),
        ((Line("a"), 2, 3), {"at": date(2026, 1, 2)}, "rest"),
        ((Line("a"),), {"at": 3}, "at"),
        ((Line("a"),), {"at": date(2026, 1, 2), "level": 9}, "level"),
    ):
        with pytest.raises(ArgumentError, match=f"argument '{name}'"):
            take.apply_async(args, kwargs)
    with pytest.raises(ArgumentError, match="misses the argument 'at'"):
        take.apply_async((Line("a"),))


def test_what_is_returned_becomes_plain_data(app: Celeriac) -> None:
    @app.task(validate=True)
    def typed(order: Order) -> Order:
        return order

    @app.task(validate=True)
    async def model(street: str) -> list[Address]:
        return [Address(street=street)]

    @app.task(validate=True)
    def nothing_said(order: Order):  # type: ignore[no-untyped-def]
        return order

    got: list[Any] = [typed.apply((Order(1),)).get(), model.apply(("x",)).get()]
    assert got == [{"id": 1, "lines": [], "at": None, "colour": "red"}, [{"street": "x", "since": None}]]
    with pytest.raises(EncodeError, match="Order is no plain data"):
        nothing_said.apply((Order(1),)).get()
    assert typed(Order(1)) == Order(1), "a call is a call"


def test_classes_and_eager_mode() -> None:
    with Celeriac("eager", broker="memory://", task_always_eager=True, task_eager_propagates=True) as app:

        class Ship(Task[[Order], int]):
            validate = True

            def run(self, order: Order) -> int:
                assert type(order) is Order
                return order.id

        ship = app.register_task(Ship())
        assert ship.delay(Order(7)).get() == 7
        with pytest.raises(ArgumentError, match="'order'"):
            ship.delay({"id": None})  # type: ignore[arg-type]


def test_a_retry_with_other_arguments(app: Celeriac) -> None:
    @app.task(validate=True, bind=True)
    def take(self: Any, order: Order) -> int:
        if order.id < 3:
            raise self.retry(args=(Order(order.id + 1),), countdown=0)
        return order.id

    assert take.apply((Order(1),)).get() == 3


def test_signatures_hold_plain_data(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(validate=True)
    def take(result: int, order: Order) -> None: ...

    @app.task
    def plain(x: int) -> int:
        return x

    signature = take.s(Order(1), order=Order(2))  # type: ignore[call-overload]  # whatever type it has, it is made plain
    assert signature.args == [{"id": 1, "lines": [], "at": None, "colour": "red"}]
    plain.apply_async((1,), link=take.si(1, Order(1)))
    embed = task_v2.decode_body(broker.sent.messages[-1], ["json"])[2]
    assert embed.callbacks is not None
    assert embed.callbacks[0]["args"][1]["id"] == 1
    take.s(Order(2)).apply_async((1,))
    assert task_v2.decode_body(broker.sent.messages[-1], ["json"])[0][1]["id"] == 2
    with pytest.raises(ArgumentError, match="'result'"):
        take.s(Order(2)).apply_async(("x",))


@pytest.mark.parametrize("hint", ["NoSuchName", "list[NoSuchName]", "enum.nothing", "not python"])
def test_a_hint_that_cannot_be_resolved_is_an_error_of_the_definition(app: Celeriac, hint: str) -> None:
    def take(x: int, value: Any) -> None: ...

    take.__annotations__["value"] = hint
    with pytest.raises(ImproperlyConfigured, match=r"hint .* of parameter 'value' can't be resolved"):
        app.task(validate=True)(take)


@pytest.mark.parametrize(
    "hint",
    [Callable[[], int], type[int], Iterator[int], Foreign, list[Foreign], list[Order | Parcel]],
)
def test_a_hint_that_plain_data_cannot_fill_is_an_error_of_the_definition(app: Celeriac, hint: Any) -> None:
    def take(value: Any) -> None: ...

    take.__annotations__["value"] = hint
    with pytest.raises(ImproperlyConfigured, match="of parameter 'value' can't be made from plain data"):
        app.task(validate=True)(take)


def test_the_setting_is_for_tasks_that_do_not_say(broker: RecordingBroker) -> None:
    with Celeriac("shop", broker=broker, task_validate_arguments=True, task_ignore_result=True) as app:

        @app.task
        def checked(x: int) -> None: ...

        @app.task(validate=False)
        def lax(x: int) -> None: ...

        with pytest.raises(ArgumentError):
            checked.delay("x")  # type: ignore[arg-type]
        lax.delay("x")  # type: ignore[arg-type]
        app.conf.task_validate_arguments = False
        checked.delay("x")  # type: ignore[arg-type]


def test_without_it_the_error_tells_of_it(app: Celeriac) -> None:
    @app.task
    def take(value: Any) -> None: ...

    for value in (Order(1), Address(street="x"), Customer("x"), Colour.RED, {1}, timedelta(1)):
        with pytest.raises(ArgumentError, match="or give the parameter a type hint and the task validate=True"):
            take.delay(value)
    assert take.conversion is None
