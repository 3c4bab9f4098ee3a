"""Keys of unique tasks: the option, the key of a call, and the rules of who holds it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from celeriac.core.unique import (
    Answer,
    Arrive,
    Hold,
    Lock,
    OnConflict,
    Release,
    Take,
    Undo,
    Unique,
    Until,
    apply_step,
    as_unique,
    make_key,
)
from celeriac.exceptions import ArgumentError, ImproperlyConfigured

NOW = 1000.0


def take(task_id: str, on_conflict: OnConflict = "drop", *, hold_s: float = 100.0, window_s: float = 0.0) -> Take:
    return Take("k", task_id, hold_s, window_s, on_conflict)


def arrive(task_id: str, until: Until = "done", on_conflict: OnConflict = "drop", window_s: float = 0.0) -> Arrive:
    return Arrive("k", task_id, until, on_conflict, 30.0, 100.0, window_s)


QUEUED = Lock("a", NOW + 50)
RUNNING = Lock("a", NOW + 50, "running")
FOLLOWED = Lock("a", NOW + 50, "running", 0.0, "b", NOW + 80)
ENDED = Lock("a", NOW + 50, "ended", NOW + 50)


@pytest.mark.parametrize(
    ("before", "step", "answer", "after"),
    [
        # A call takes a key that is free, or whose hold has run out.
        (None, take("b"), Answer("taken"), Lock("b", NOW + 100)),
        (Lock("a", NOW), take("b"), Answer("taken"), Lock("b", NOW + 100)),
        (None, take("b", hold_s=5, window_s=60), Answer("taken"), Lock("b", NOW + 60, "queued", NOW + 60)),
        # The same call once more, after an unknown outcome.
        (QUEUED, take("a"), Answer("taken"), Lock("a", NOW + 100)),
        (FOLLOWED, take("b", "queue"), Answer("follows"), Lock("a", NOW + 50, "running", 0.0, "b", NOW + 100)),
        # A second call.
        (QUEUED, take("b"), Answer("duplicate", "a"), QUEUED),
        (RUNNING, take("b", "raise"), Answer("duplicate", "a"), RUNNING),
        (ENDED, take("b"), Answer("duplicate", "a"), ENDED),
        (ENDED, take("a"), Answer("duplicate", "a"), ENDED),
        (QUEUED, take("b", "replace"), Answer("replaced", "a"), Lock("b", NOW + 100)),
        (RUNNING, take("b", "replace"), Answer("follows"), Lock("a", NOW + 50, "running", 0.0, "b", NOW + 150)),
        (FOLLOWED, take("c", "replace"), Answer("follows", "b"), Lock("a", NOW + 50, "running", 0.0, "c", NOW + 150)),
        (QUEUED, take("b", "queue"), Answer("follows"), Lock("a", NOW + 50, "queued", 0.0, "b", NOW + 150)),
        (FOLLOWED, take("c", "queue"), Answer("duplicate", "b"), FOLLOWED),
        # A follower whose time is over makes room.
        (
            Lock("a", NOW + 50, "running", 0.0, "b", NOW),
            take("c", "queue"),
            Answer("follows"),
            Lock("a", NOW + 50, "running", 0.0, "c", NOW + 150),
        ),
        # A message arrives.
        (QUEUED, arrive("a"), Answer("run"), RUNNING),
        (None, arrive("a"), Answer("run"), Lock("a", NOW + 30, "running")),
        (FOLLOWED, arrive("b"), Answer("wait", "a"), Lock("a", NOW + 50, "running", 0.0, "b", NOW + 100)),
        (QUEUED, arrive("z"), Answer("gone", "a"), QUEUED),
        (QUEUED, arrive("z", "done", "queue"), Answer("wait", "a"), Lock("a", NOW + 50, "queued", 0.0, "z", NOW + 100)),
        (FOLLOWED, arrive("z", "done", "queue"), Answer("gone", "b"), FOLLOWED),
        (Lock("a", NOW, "running", 0.0, "b", NOW + 80), arrive("b"), Answer("run"), Lock("b", NOW + 80, "running")),
        # Until it starts: the key is free from then on; what comes again runs again.
        (QUEUED, arrive("a", "started"), Answer("run"), None),
        (Lock("b", NOW + 50), arrive("a", "started"), Answer("run"), Lock("b", NOW + 50)),
        (None, arrive("a", "started"), Answer("run"), None),
        (Lock("a", NOW + 50, "queued", NOW + 50), arrive("a", "started"), Answer("run"), ENDED),
        # A window.
        (
            Lock("a", NOW + 50, "queued", NOW + 50),
            arrive("a", "window", window_s=60),
            Answer("run"),
            Lock("a", NOW + 50, "running", NOW + 50),
        ),
        (
            Lock("b", NOW + 80),
            arrive("b", "window", window_s=60),
            Answer("run"),
            Lock("b", NOW + 60, "running", NOW + 60),
        ),
        (QUEUED, arrive("z", "window", window_s=60), Answer("run"), QUEUED),
        # Holding.
        (RUNNING, Hold("k", "a", 70), Answer("done"), Lock("a", NOW + 70, "running")),
        (RUNNING, Hold("k", "a", 20), Answer("done"), RUNNING),
        (RUNNING, Hold("k", "a", 20, exactly=True), Answer("done"), Lock("a", NOW + 20, "running")),
        (None, Hold("k", "a", 20, anew=True), Answer("done"), Lock("a", NOW + 20, "running")),
        (RUNNING, Hold("k", "a", 20, anew=True), Answer("done"), RUNNING),
        (None, Hold("k", "a", 20), Answer("done"), None),
        (None, Hold("k", "a", 20, exactly=True), Answer("done"), None),
        (RUNNING, Hold("k", "z", 70), Answer("done"), RUNNING),
        # Ending.
        (RUNNING, Release("k", "a"), Answer("done"), None),
        (RUNNING, Release("k", "z"), Answer("done"), RUNNING),
        (FOLLOWED, Release("k", "a"), Answer("done"), Lock("b", NOW + 80)),
        (FOLLOWED, Release("k", "b"), Answer("done"), RUNNING),
        (Lock("a", NOW + 90, "running", NOW + 50), Release("k", "a"), Answer("done"), ENDED),
        # Not sent after all.
        (QUEUED, Undo("k", "a"), Answer("done"), None),
        (FOLLOWED, Undo("k", "b"), Answer("done"), RUNNING),
        (Lock("z", NOW + 50), Undo("k", "a"), Answer("done"), Lock("z", NOW + 50)),
    ],
)
def test_rules(before: Lock | None, step: Any, answer: Answer, after: Lock | None) -> None:
    came = apply_step(before, step, NOW)
    assert came.answer == answer
    assert came.lock == after


def test_a_replaced_call_is_gone_until_its_successor_could_not_be_sent() -> None:
    came = apply_step(QUEUED, take("b", "replace"), NOW)
    assert came.replaced == "a"
    assert apply_step(came.lock, arrive("a"), NOW, "b").answer == Answer("gone", "b")
    undone = apply_step(came.lock, Undo("k", "b", "a"), NOW, "b")
    assert undone.restored == "a"
    assert undone.lock is not None
    assert undone.lock.holder == "a"
    # It has come to its end meanwhile: nobody holds the key.
    assert apply_step(came.lock, Undo("k", "b", "a"), NOW).lock is None


def test_the_option() -> None:
    assert as_unique("t", None) is None
    assert as_unique("t", False) is None
    assert as_unique("t", True) == Unique()
    unique = Unique(by="order_id", until=timedelta(minutes=1), on_conflict="raise")
    assert as_unique("t", unique) is unique
    assert (unique.names, unique.mode, unique.kept_s) == (("order_id",), "window", 60.0)
    assert (Unique().mode, Unique().kept_s, Unique(window_s=2).kept_s) == ("done", 0.0, 2.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Unique(until="end"), "'started', 'done' or a number of seconds"),  # type: ignore[arg-type]
        (lambda: Unique(until=True), "'started', 'done' or a number of seconds"),
        (lambda: Unique(until=-1), "seconds above 0"),
        (lambda: Unique(window_s=0), "seconds above 0"),
        (lambda: Unique(window_s="x"), "seconds above 0"),  # type: ignore[arg-type]
        (lambda: Unique(until=5, window_s=6), "not both"),
        (lambda: Unique(on_conflict="forget"), "'drop', 'replace', 'queue', 'raise'"),  # type: ignore[arg-type]
        (lambda: Unique(by=()), "names of parameters"),
        (lambda: Unique(by=[1]), "names of parameters"),  # type: ignore[list-item]
        (lambda: as_unique("shop.pay", "yes"), r"task 'shop.pay': unique='yes': True, False or celeriac.Unique"),
    ],
)
def test_an_option_that_can_not_be_meant(make: Any, words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words):
        make()


def test_keys_tell_different_calls_apart() -> None:
    parts: list[Any] = [
        {"x": 1},
        {"x": 1.5},
        {"x": "1"},
        {"x": None},
        {"x": True},
        {"y": 1},
        {"x": [1]},
        {"x": date(2026, 1, 1)},
    ]
    assert len({make_key("t", each) for each in parts}) == len(parts)
    assert make_key("t", 1) != make_key("u", 1)


def test_the_order_of_a_dict_says_nothing() -> None:
    assert make_key("t", {"a": 1, "b": {"c": 2, "d": 3}}) == make_key("t", {"b": {"d": 3, "c": 2}, "a": 1})


def test_a_key_of_no_plain_data_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"'shop.pay': no unique key .* object is no plain data.*by="):
        make_key("shop.pay", {"x": object()})
