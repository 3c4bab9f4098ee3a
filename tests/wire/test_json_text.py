"""JSON with Celery's tags: the same bytes as Celery, and every value comes back."""

from __future__ import annotations

import math
from collections import namedtuple
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.exceptions import DecodeError, EncodeError
from celeriac.wire import json_text
from tests.wire import golden
from tests.wire.strategies import quick, values

VALUES = golden.load("values")


@pytest.mark.parametrize("case", VALUES, ids=golden.names(VALUES))
def test_writes_what_celery_writes(case: dict[str, Any]) -> None:
    assert json_text.dumps(golden.value(case["name"])).decode("ascii") == case["json"]


@pytest.mark.parametrize("case", VALUES, ids=golden.names(VALUES))
def test_reads_what_celery_writes(case: dict[str, Any]) -> None:
    read = json_text.loads(case["json"].encode())
    assert json_text.dumps(read).decode("ascii") == case["json"]


@given(values)
@quick(150)
def test_every_value_comes_back(value: Any) -> None:
    assert json_text.loads(json_text.dumps(value)) == value


def test_tagged_values_keep_their_types() -> None:
    value = [
        datetime.fromisoformat("2026-11-22T06:54:34.147011"),
        datetime(2026, 11, 22, tzinfo=UTC),
        date(2026, 11, 22),
        time(6, 54),
        Decimal("1.10"),
        UUID(int=7),
        b"text",
        b"\xff",
    ]
    read = json_text.loads(json_text.dumps(value))
    assert read == value
    assert [type(part) for part in read] == [type(part) for part in value]


def test_not_a_number_and_infinities_are_read_as_celery_writes_them() -> None:
    nan, infinity, minus = json_text.loads(b"[NaN, Infinity, -Infinity]")
    assert math.isnan(nan)
    assert (infinity, minus) == (math.inf, -math.inf)


def test_lone_surrogates_are_read() -> None:
    assert json_text.loads(b'"\\ud800"') == "\ud800"


def test_an_object_with_more_than_a_tag_is_an_object() -> None:
    assert json_text.loads(b'{"__type__": "x", "__value__": 1, "more": 2}') == {
        "__type__": "x",
        "__value__": 1,
        "more": 2,
    }


def test_subclasses_of_plain_types_are_written_as_these() -> None:
    class Number(IntEnum):
        ONE = 1

    class Text(str, Enum):  # noqa: UP042 - a StrEnum would be something else
        A = "a"

    pair = namedtuple("pair", "x y")
    assert json_text.dumps([Number.ONE, Text.A, pair(1, 2)]) == b'[1, "a", [1, 2]]'


def test_an_object_may_bring_its_own_form() -> None:
    class Money:
        def __json__(self) -> dict[str, int]:
            return {"cents": 5}

    assert json_text.dumps([Money()]) == b'[{"cents": 5}]'


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"user": [1, object()]}, "['user'][1]"),
        ([{1, 2}], "[0]"),
        ([[lambda: 0]], "[0][0]"),
        ({"k": {"deep": 1j}}, "['k']['deep']"),
    ],
)
def test_what_is_no_plain_data_is_named(value: Any, named: str) -> None:
    with pytest.raises(EncodeError, match="no plain data") as caught:
        json_text.dumps(value)
    assert named in str(caught.value)


def test_keys_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(EncodeError, match="key"):
        json_text.dumps([{(1, 2): 3}])


def test_a_value_that_holds_itself_is_refused() -> None:
    ring: list[Any] = []
    ring += [ring, ring, {"again": ring}]
    with pytest.raises(EncodeError, match="Circular"):
        json_text.dumps(ring)


def test_whatever_an_objects_own_form_raises_is_told() -> None:
    class Broken:
        def __json__(self) -> None:
            raise LookupError("no rate for today")

    with pytest.raises(EncodeError, match=r"at \[1\]: no rate for today"):
        json_text.dumps([1, Broken()])


def test_a_nest_too_deep_to_search_is_refused_too() -> None:
    with pytest.raises(EncodeError):
        json_text.dumps([nested(100_000), object()])


# -- depth ------------------------------------------------------------------------------------------------------------


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_the_deepest_allowed_value_goes_both_ways() -> None:
    value = nested(json_text.MAX_DEPTH)
    assert json_text.loads(json_text.dumps(value)) == value


@pytest.mark.parametrize("levels", [json_text.MAX_DEPTH + 1, 300, 900])
def test_one_level_more_is_refused_both_ways(levels: int) -> None:
    with pytest.raises(EncodeError, match="256 levels"):
        json_text.dumps(nested(levels))
    with pytest.raises(DecodeError, match="256 levels"):
        json_text.loads(b"[" * levels + b"]" * levels)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'[{"a":' * 50_000 + b"1" + b"}]" * 50_000,
    ],
)
def test_a_hundred_thousand_levels_are_refused(text: bytes) -> None:
    with pytest.raises(DecodeError):
        json_text.loads(text)


@pytest.mark.parametrize(
    "value",
    ["[" * 500, '"[[' * 200, "\\" * 301 + "[" * 200, '\\"' * 99 + "{" * 99, [[1], {"a": "]}"}] * 500, '["' * 300],
)
def test_brackets_within_texts_do_not_count(value: Any) -> None:
    assert json_text.loads(json_text.dumps([value, {value if isinstance(value, str) else "k": [value]}]))[0] == value


@given(values, st.integers(60, 70))
@quick(60)
def test_depth_is_measured_as_a_walk_would(value: Any, wrapped: int) -> None:
    for _ in range(wrapped):
        value = [value]
    text = json_text._encode(value).encode()
    assert json_text.exceeds_depth(text) == (depth(value) > json_text.MAX_DEPTH)


def depth(value: Any) -> int:
    """Levels of lists and objects as they stand in the text: a tagged value is one more, a tagged UUID two."""
    if isinstance(value, list | tuple):
        return 1 + max(map(depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, UUID):
        return 2
    return 1 if isinstance(value, date | time | Decimal | bytes) else 0
