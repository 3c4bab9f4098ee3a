"""The text that shows arguments: Celery's, character for character, and bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.wire.short_repr import short_repr
from tests.wire import golden
from tests.wire.strategies import quick

REPRS = golden.load("reprs")


@pytest.mark.parametrize("case", REPRS, ids=[name[:60] for name in golden.names(REPRS)])
def test_shows_what_celery_shows(case: dict[str, Any]) -> None:
    assert short_repr(golden.value(case["name"])) == case["repr"]


def test_a_list_that_holds_itself_is_named_as_such() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    assert short_repr(ring) == f"[1, <Recursion on list with id={id(ring)}>]"


def test_the_same_list_twice_is_no_recursion() -> None:
    part = [1]
    assert short_repr([part, part]) == "[[1], [1]]"


def test_what_cannot_be_shown_says_so() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "Unrepresentable" in short_repr([Mute(), 10**5000])


@given(st.recursive(st.text() | st.integers() | st.binary(), st.lists, max_leaves=60), st.integers(1, 100))
@quick(100)
def test_the_length_is_bounded(value: Any, max_chars: int) -> None:
    # Over the limit: the piece that crossed it (a text grows by quotes, an ellipsis and escapes), the cut and the brackets.
    assert len(short_repr(value, max_chars)) <= 3 * max_chars + 40
