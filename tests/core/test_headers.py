"""What the core reads of a message, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.headers import read_headers, read_id, to_header, to_timestamp
from celeriac.exceptions import BadMessage

GOOD: dict[str, Any] = {"id": "x", "task": "a.b", "retries": 0, "timelimit": [None, None], "extra": object()}
MARK: dict[str, Any] = {"key": "k", "until": "done", "on_conflict": "drop", "expires_s": 60.0}


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
        ("id", "half a character: \ud800"),
        ("task", None),
        ("task", ["a"]),
        ("task", "a\nCRITICAL"),
        ("task", "x" * 2**20),
        ("retries", "1"),
        ("retries", -1),
        ("retries", "\ud800"),
        ("retries", 2**63),
        ("timelimit", "soon"),
        ("timelimit", [-1, None]),
        ("timelimit", [1]),
        ("timelimit", "\ud800"),
        ("eta", 5),
        ("expires", {}),
        ("celeriac_crashes", -1),
        ("celeriac_losses", 2**63),
        ("celeriac_rate_limit_key", "\ud800"),
        ("celeriac_max_concurrency_key", "\udfff"),
        ("celeriac_max_concurrency_key", "x" * 256),
        ("celeriac_slot", -1.0),
        ("celeriac_unique", "a key"),
        ("celeriac_unique", "\ud800"),
        ("celeriac_unique", {**MARK, "key": "\ud800"}),
        ("celeriac_unique", {**MARK, "key": "x" * 401}),
        ("celeriac_unique", {**MARK, "expires_s": 1e10}),
    ],
)
def test_a_wrong_header_is_named(name: str, value: object) -> None:
    with pytest.raises(BadMessage, match=name):
        read_headers({**GOOD, name: value})


@pytest.mark.parametrize("name", ["id", "task"])
def test_a_missing_header_is_named(name: str) -> None:
    with pytest.raises(BadMessage, match=name):
        read_headers({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize("wrong", [None, 5, "", "x" * 256, "\ud800", "a\nb"])
def test_an_id_is_read_from_headers_that_are_wrong_otherwise(wrong: object) -> None:
    assert read_id({"id": "x", "task": None}) == "x"
    assert read_id({"id": wrong}) is None


@given(st.floats(0, 4e9))
def test_times_survive_the_trip_through_a_header(timestamp: float) -> None:
    assert to_timestamp(to_header(timestamp), "eta") == pytest.approx(timestamp, abs=1e-5)


@pytest.mark.parametrize("text", ["tomorrow", "", "2026-99-01T00:00:00", "9" * 60])
def test_a_time_that_is_none_is_named(text: str) -> None:
    with pytest.raises(BadMessage, match="eta"):
        to_timestamp(text, "eta")
