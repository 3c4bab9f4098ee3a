"""What the core reads of a message, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.headers import read_headers, to_header, to_timestamp
from celeriac.exceptions import BadMessage

GOOD: dict[str, Any] = {"id": "x", "task": "a.b", "retries": 0, "timelimit": [None, None], "extra": object()}


def test_good_headers_are_read_and_others_left_alone() -> None:
    headers = read_headers({**GOOD, "celeriac_crashes": 2, "timelimit": [10, None]})
    assert (headers.id, headers.task, headers.celeriac_crashes, headers.timelimit) == ("x", "a.b", 2, (10.0, None))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", None),
        ("id", {"a": 1}),
        ("id", ""),
        ("id", "x" * 256),
        ("id", "../../x\r\nSET"),
        ("task", None),
        ("task", ["a"]),
        ("task", "a\nCRITICAL"),
        ("task", "x" * 2**20),
        ("retries", "1"),
        ("retries", -1),
        ("retries", 2**63),
        ("timelimit", "soon"),
        ("timelimit", [-1, None]),
        ("timelimit", [1]),
        ("eta", 5),
        ("expires", {}),
        ("celeriac_crashes", -1),
        ("celeriac_losses", 2**63),
    ],
)
def test_a_wrong_header_is_named(name: str, value: object) -> None:
    with pytest.raises(BadMessage, match=name):
        read_headers({**GOOD, name: value})


@pytest.mark.parametrize("name", ["id", "task"])
def test_a_missing_header_is_named(name: str) -> None:
    with pytest.raises(BadMessage, match=name):
        read_headers({key: value for key, value in GOOD.items() if key != name})


@given(st.floats(0, 4e9))
def test_times_survive_the_trip_through_a_header(timestamp: float) -> None:
    assert to_timestamp(to_header(timestamp), "eta") == pytest.approx(timestamp, abs=1e-5)


@pytest.mark.parametrize("text", ["tomorrow", "", "2026-99-01T00:00:00", "9" * 60])
def test_a_time_that_is_none_is_named(text: str) -> None:
    with pytest.raises(BadMessage, match="eta"):
        to_timestamp(text, "eta")
