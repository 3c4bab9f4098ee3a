"""What a task's end means for the workflow around it: its chord, the rest of its chain, and what will never run."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.core import states
from celeriac.core.decide import MIN_SUCCESSES, Facts, decide
from celeriac.core.effects import Effects
from celeriac.core.foregone import forgo
from celeriac.core.outcome import (
    ChordEnded,
    Crashed,
    Failed,
    Ignored,
    Outcome,
    Rejected,
    ReplacedBy,
    RetryAsked,
    Revoked,
    Succeeded,
    TimedOut,
    Unrunnable,
)
from celeriac.core.policy import Policy
from celeriac.core.workflow import EndedMember
from celeriac.exceptions import ChordError, Reject

BOOM = ValueError("boom")
Signature = dict[str, Any]


def task(task_id: str, **options: Any) -> Signature:
    return {"task": "t", "args": [], "kwargs": {}, "options": {"task_id": task_id, **options}, "subtask_type": None}


def chain(*steps: Signature) -> Signature:
    return {"task": "celery.chain", "kwargs": {"tasks": list(steps)}, "options": {}, "subtask_type": "chain"}


def group(*members: Signature) -> Signature:
    return {"task": "celery.group", "kwargs": {"tasks": list(members)}, "options": {}, "subtask_type": "group"}


def chord(header: list[Signature], body: Signature) -> Signature:
    kwargs = {"header": header, "body": body, "kwargs": {}}
    return {"task": "celery.chord", "kwargs": kwargs, "options": {}, "subtask_type": "chord"}


def end(outcome: Outcome, **facts: Any) -> Effects:
    member: dict[str, Any] = {"id": "m", "root_id": "r", "in_chord": True, "group_id": "g", "group_index": 2}
    return decide(Policy(), Facts(**{**member, **facts}), outcome, 1_000.0, 0.5)


def joined(effects: Effects) -> list[tuple[str, str, int | None, str]]:
    return [(join.group_id, join.member_id, join.index, join.state) for join in effects.joins]


def kept(effects: Effects) -> list[tuple[str, str]]:
    return [(keep.id, keep.state) for keep in effects.foregone]


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Succeeded(7), states.SUCCESS),
        (Ignored(), states.SUCCESS),
        (Failed(BOOM, ""), states.FAILURE),
        (TimedOut(5.0), states.FAILURE),
        (Crashed("died", 3), states.FAILURE),
        (Rejected(Reject("no"), "", requeue=False), states.FAILURE),
        (Unrunnable(BOOM, "unknown"), states.FAILURE),
        (Revoked("revoked"), states.REVOKED),
        (Revoked("expired"), states.REVOKED),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_every_end_is_told_to_the_chord(outcome: Outcome, state: str) -> None:
    assert joined(end(outcome)) == [("g", "m", 2, state)]
    assert joined(end(outcome, ignore_result=True)) == [("g", "m", 2, state)]
    assert joined(end(outcome, in_chord=False)) == []


@pytest.mark.parametrize(
    "outcome",
    [
        RetryAsked(BOOM, "", automatic=True),
        Rejected(Reject("later"), "", requeue=True),
        ReplacedBy(task("m")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_on_is_no_part_of_the_chord_yet(outcome: Outcome) -> None:
    assert joined(end(outcome)) == []


def test_a_chord_gets_the_value_or_the_error() -> None:
    assert end(Succeeded(7)).joins[0].result == 7
    assert end(Ignored()).joins[0].result is None
    assert end(Failed(BOOM, "")).joins[0].result is BOOM


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(Failed(BOOM, "tb"), states.FAILURE), (Revoked("revoked"), states.REVOKED), (Ignored(), states.REVOKED)],
    ids=["failed", "revoked", "ignored"],
)
def test_the_rest_of_a_chain_ends_with_its_step(outcome: Outcome, state: str) -> None:
    body = task("outer body")
    last = task("last", chord=body, group_id="outer", group_index=1)
    effects = end(outcome, in_chord=False, chain=[last, task("next")])
    assert kept(effects) == [("next", state), ("last", state)]
    assert joined(effects) == [("outer", "last", 1, state)]
    assert effects.joins[0].body == body


def test_a_workflow_that_will_never_run_ends_everywhere() -> None:
    inner = chord(
        [task("h1"), chain(task("h2"), group(task("h3"), task("h4")))], task("b", chord=task("x"), group_id="o")
    )
    lost = forgo([chain(task("a"), group(task("c")), inner)], states.FAILURE, BOOM, errbacks=False)
    assert [keep.id for keep in lost.keeps] == ["a", "c", "h1", "h2", "h3", "h4", "b"]
    assert [(join.group_id, join.member_id) for join in lost.joins] == [("o", "b")]
    assert lost.errbacks == []


def test_what_follows_a_task_by_its_own_options_will_not_run_either() -> None:
    body = task("b", chain=[task("last", chord=task("x"), group_id="o"), task("next")])
    lost = forgo([body], states.FAILURE, BOOM, errbacks=True)
    assert [keep.id for keep in lost.keeps] == ["b", "next", "last"]
    assert [join.member_id for join in lost.joins] == ["last"]


def test_so_is_what_follows_a_workflow_by_its_own_options() -> None:
    body = chain(task("a"), task("b"))
    body["options"] = {"chain": [task("last", chord=task("x"), group_id="o")]}
    lost = forgo([body], states.FAILURE, BOOM, errbacks=True)
    assert [keep.id for keep in lost.keeps] == ["a", "b", "last"]
    assert [join.member_id for join in lost.joins] == ["last"]


def test_members_of_a_group_that_are_parts_of_a_chord_by_themselves() -> None:
    """As Celery's senders have it: the chord is written into the group alone, and the members know which is theirs."""
    outer = chord([task("h")], task("x", group_id="o"))
    body = group(
        task("a", group_id="o", group_index=0),
        chain(task("b"), task("c", group_id="o", group_index=1)),
        chord([task("d", group_id="o")], task("e", group_id="o", group_index=2)),
        task("f", group_id="another"),
    )
    body["options"] = {"task_id": "g", "group_id": "another", "chord": outer}
    lost = forgo([body], states.FAILURE, BOOM, errbacks=False)
    assert [(join.group_id, join.member_id, join.index, join.body) for join in lost.joins] == [
        ("o", "a", 0, outer),
        ("o", "c", 1, outer),
        ("o", "e", 2, outer),
    ]


def test_errbacks_of_a_group_that_has_to_give_one_value_are_called_as_those_of_any_other() -> None:
    """Celeriac puts `celery.accumulate` behind a body that is a group, where one value is wanted of it."""
    gathering = {**task("list"), "task": "celery.accumulate"}
    for last, told in ((gathering, ["a", "b"]), (task("last"), [])):
        members = [task("a", link_error=task("ea")), chain(task("b", link_error=[task("eb")]), task("c"))]
        lost = forgo([chord(members, last)], states.FAILURE, BOOM, errbacks=True)
        assert [errback.parent_id for errback in lost.errbacks] == told


def test_headers_that_will_never_run_are_no_parts_of_their_own_chord() -> None:
    """Celery's senders write the chord into its members, too."""
    body = task("b")
    lost = forgo([chord([task("h", chord=body, group_id="g")], body)], states.FAILURE, BOOM, errbacks=False)
    assert lost.joins == []


def test_results_that_nobody_wants_are_not_stored_for_what_never_runs() -> None:
    lost = forgo([chain(task("a", ignore_result=True), {"task": "unnamed"})], states.FAILURE, BOOM, errbacks=False)
    assert lost.keeps == []


def test_a_very_long_chain_of_chords_is_no_deep_recursion() -> None:
    nest = task("innermost")
    for number in range(5_000):
        nest = chord([task(f"h{number}")], nest)
    assert len(forgo([nest], states.FAILURE, BOOM, errbacks=True).keeps) == 5_001


# -- the chord itself -------------------------------------------------------------------------------------------------


def ended(*members: EndedMember, body: Signature | None = None) -> Effects:
    return end(ChordEnded("g", list(members), body or task("b")))


def good(value: Any) -> EndedMember:
    return EndedMember(f"id{value}", states.SUCCESS, value)


def bad(number: int = 1) -> EndedMember:
    return EndedMember(f"bad{number}", states.FAILURE, ValueError("boom"))


def test_a_body_gets_the_values_in_their_order() -> None:
    effects = ended(good(2), good(1), good(3))
    assert [(call.signature, call.prepend) for call in effects.invoke] == [(task("b"), ([2, 1, 3],))]
    assert effects.closes == ["g"]
    assert (effects.keep, effects.joins, effects.foregone) == (None, [], [])


def test_one_failed_member_fails_the_body() -> None:
    errback = {"task": "eb"}
    effects = ended(
        good(1), bad(), body=task("b", link_error=[errback], chord=task("x"), group_id="outer", group_index=4)
    )
    assert kept(effects) == [("b", states.FAILURE)]
    assert isinstance(effects.foregone[0].result, ChordError)
    assert str(effects.foregone[0].result) == "Dependency bad1 raised ValueError('boom')"
    assert [(call.signature, call.prepend) for call in effects.invoke] == [(errback, ("b",))]
    assert joined(effects) == [("outer", "b", 4, states.FAILURE)]
    assert effects.closes == ["g"]


def test_further_failures_are_counted() -> None:
    effects = ended(bad(1), good(1), bad(2), bad(3))
    assert str(effects.foregone[0].result).endswith(", and 2 more failed")


def test_a_revoked_member_fails_the_body_too() -> None:
    effects = ended(good(1), EndedMember("m", states.REVOKED, ValueError("revoked")))
    assert kept(effects) == [("b", states.FAILURE)]


@pytest.mark.parametrize(
    ("body", "called", "stored"),
    [
        (chain(task("x", link_error=["ex"]), task("y", link_error=["ey"])), ["x"], ["x", "y"]),
        (group(task("x", link_error=["ex"]), task("y", link_error=["ey"])), ["x", "y"], ["x", "y"]),
        (chord([task("h", link_error=["eh"])], task("z", link_error=["ez"])), ["z"], ["h", "z"]),
    ],
    ids=["chain", "group", "chord"],
)
def test_errbacks_are_called_of_what_the_body_would_have_begun_with(
    body: Signature, called: list[str], stored: list[str]
) -> None:
    for signature in _all_tasks(body):
        signature["options"]["link_error"] = [{"task": name} for name in signature["options"]["link_error"]]
    effects = ended(bad(), body=body)
    assert [call.prepend[0] for call in effects.invoke] == called
    assert [keep.id for keep in effects.foregone] == stored


def _all_tasks(signature: Signature) -> list[Signature]:
    kwargs = signature["kwargs"]
    inner = [*kwargs.get("tasks", []), *kwargs.get("header", []), *([kwargs["body"]] if "body" in kwargs else [])]
    return [signature] if not inner else [one for part in inner for one in _all_tasks(part)]


def test_enough_successes_let_the_body_run_with_those() -> None:
    body = task("b", **{MIN_SUCCESSES: 2})
    assert ended(good(1), bad(), good(3), body=body).invoke[0].prepend == ([1, 3],)
    too_few = ended(good(1), bad(1), bad(2), body=body)
    assert kept(too_few) == [("b", states.FAILURE)]
    assert str(too_few.foregone[0].result).endswith("; 1 succeeded, and 2 had to")


def test_an_empty_chord_runs_its_body_with_nothing() -> None:
    assert ended().invoke[0].prepend == ([],)
