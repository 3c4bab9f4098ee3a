from __future__ import annotations

import enum
import pathlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac import Celeriac
from celeriac.client.arguments import Binder
from celeriac.exceptions import ArgumentError
from tests.client.recording import RecordingBroker


def plain(a: int, b: int = 2) -> None: ...
def only_keywords(*, a: int, b: int = 2) -> None: ...
def only_positions(a: int, b: int = 2, /) -> None: ...
def everything(a: int, /, b: int, *rest: int, c: int, d: int = 4, **more: int) -> None: ...
def positions_and_more(a: int, b: int = 2, /, **more: int) -> None: ...
def defaults_then_rest(a: int = 1, b: int = 2, *rest: int) -> None: ...
def nothing() -> None: ...


@given(
    function=st.sampled_from(
        [plain, only_keywords, only_positions, everything, positions_and_more, defaults_then_rest, nothing]
    ),
    count=st.integers(0, 4),
    names=st.sets(st.sampled_from("abcde")),
)
def test_binder_agrees_with_python(function: Any, count: int, names: set[str]) -> None:
    args = tuple(range(count))
    kwargs = dict.fromkeys(names, 0)
    try:
        function(*args, **kwargs)
        fits = True
    except TypeError:
        fits = False
    binder = Binder("task", function)
    if fits:
        binder.check(args, kwargs)
    else:
        with pytest.raises(ArgumentError):
            binder.check(args, kwargs)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "text"),
    [
        (plain, (), {}, "misses the argument 'a'"),
        (plain, (1, 2, 3), {}, "takes at most 2 positional arguments, 3 were given"),
        (plain, (1,), {"a": 1}, "got two values for the argument 'a'"),
        (plain, (1,), {"z": 1}, "takes no argument 'z'"),
        (only_positions, (), {"a": 1}, "takes the argument 'a' by position only"),
        (everything, (), {}, "misses the arguments 'a', 'b', 'c'"),
    ],
)
def test_binder_names_the_parameter_and_shows_the_signature(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        Binder("shop.task", function).check(args, kwargs)
    assert text in str(caught.value)
    assert "its signature is task(" in str(caught.value)
    assert str(caught.value).startswith("shop.task() ")


def test_a_call_that_does_not_fit_is_refused_where_it_is_made(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task
    def charge(order_id: int) -> None: ...

    @app.task(typing=False)
    def lax(order_id: int) -> None: ...

    with pytest.raises(ArgumentError, match="charge"):
        charge.delay()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"charge\(order_id: int\) -> None$"):
        charge.delay(1, 2)  # type: ignore[call-arg]
    lax.delay()  # type: ignore[call-arg]
    assert [message.task for message in broker.sent.messages] == [lax.name]


def test_a_bound_task_does_not_count_itself(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(bind=True)
    def charge(self: Any, order_id: int) -> None: ...

    charge.delay(1)
    with pytest.raises(ArgumentError, match="order_id"):
        charge.delay()  # type: ignore[call-arg]
    assert len(broker.sent.messages) == 1


class User:
    def __init__(self) -> None:
        self.id = 7


class Colour(enum.Enum):
    RED = object()


@dataclass
class Point:
    x: int = 0


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("value", "path", "cure"),
    [
        (User(), "order", "pass `order.id` and look the object up in the task"),
        ({"who": [1, User()]}, "order['who'][1]", "pass `order['who'][1].id`"),
        ({1, 2}, "order", "pass a list: `sorted(order)`"),
        (Colour.RED, "order", "pass `order.value`"),
        (Point(), "order", "pass `dataclasses.asdict(order)`"),
        (pathlib.Path("x"), "order", "pass `str(order)`"),
        (ValueError("x"), "order", "pass `str(order)`"),
        (lambda: None, "order", "pass data"),
        (object(), "order", "pass plain data"),
    ],
)
def test_what_is_no_plain_data_is_named_with_its_cure(app: Celeriac, value: Any, path: str, cure: str) -> None:
    @app.task
    def charge(count: int, order: Any) -> None: ...

    with pytest.raises(ArgumentError) as caught:
        charge.delay(1, value)
    text = str(caught.value)
    assert "'order'" in text
    assert path in text
    assert cure in text
    with pytest.raises(ArgumentError, match="'order'"):
        charge.delay(1, order=value)


def test_a_coroutine_is_to_be_awaited_first(app: Celeriac) -> None:
    @app.task
    def charge(order: Any) -> None: ...

    started = coroutine()
    with pytest.raises(ArgumentError, match="await it first"):
        charge.delay(started)
    started.close()


def test_a_value_that_refers_to_itself_is_found(app: Celeriac) -> None:
    @app.task
    def charge(order: Any) -> None: ...

    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ArgumentError, match="refers to itself"):
        charge.delay(endless)


def test_send_task_names_the_argument_by_its_place(app: Celeriac) -> None:
    with pytest.raises(ArgumentError, match="'argument 2'"):
        app.send_task("elsewhere", (1, object()))
