"""Counting: what a journal says of accepted, lost, stuck and repeated tasks."""

from __future__ import annotations

import pytest

from celeriac.torture.journal import END, START, Line
from celeriac.torture.orders import ACCEPTED, REFUSED
from celeriac.torture.tally import Tally, count, running

EVENTS = {"a": ACCEPTED, "r": REFUSED, "<": START, ">": END}


def journal(*said: str) -> list[Line]:
    """Lines from `a1`, `<1`, `>1`: accepted, begun, ended."""
    return [Line(EVENTS[one[0]], one[1:], pid=1, thread=1, at=float(at), more={}) for at, one in enumerate(said)]


@pytest.mark.parametrize(
    ("said", "held", "expected"),
    [
        ((), 0, Tally(0, 0, 0, 0, 0, 0, 0, 0)),
        (("a1", "<1", ">1"), 0, Tally(1, 0, 1, 0, 0, 0, 0, 0)),
        (("<1", ">1", "a1"), 0, Tally(1, 0, 1, 0, 0, 0, 0, 0)),  # it ran before its send returned
        (("a1", "r2"), 1, Tally(2, 1, 0, 0, 1, 0, 0, 0)),
        (("a1", "a2", "<1"), 0, Tally(2, 0, 0, 2, 0, 0, 0, 0)),
        (("a1", "a2", "a3", "<1"), 1, Tally(3, 0, 0, 2, 1, 0, 0, 0)),
        (("a1", "a2"), 5, Tally(2, 0, 0, 0, 2, 0, 0, 0)),
        (("a1", "<1", "<1", ">1"), 0, Tally(1, 0, 1, 0, 0, 0, 1, 0)),
        (("a1", "<1", ">1", "<1", ">1", "<1", ">1"), 0, Tally(1, 0, 1, 0, 0, 2, 2, 0)),
        (("r1", "<1", ">1"), 0, Tally(1, 1, 0, 0, 0, 0, 0, 0)),  # refused, and taken all the same
    ],
)
def test_what_is_counted(said: tuple[str, ...], held: int, expected: Tally) -> None:
    assert count(journal(*said), held) == expected


def test_keys_that_were_not_meant_to_end_are_left_out() -> None:
    assert count(journal("a1", "<1", "a2", "<2", ">2"), 0, but={"1"}) == Tally(1, 0, 1, 0, 0, 0, 0, 0)


def test_what_runs_has_begun_more_often_than_ended() -> None:
    assert set(running(journal("<1", ">1", "<2", "<3", ">3", "<3"))) == {"2", "3"}
