"""How workflows begin: what is sent first, under which ids, what it carries, and where its results are."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from celeriac.client.canvas.freeze import ResultNode
from celeriac.client.canvas.nodes import MIN_SUCCESSES
from celeriac.client.canvas.plan import Plan, plan
from celeriac.core.queues import Queue
from celeriac.exceptions import EncodeError
from celeriac.wire import serializers
from celeriac.wire.json_text import MAX_DEPTH
from tests.canvas.written import (
    A,
    B,
    C,
    D,
    E,
    F,
    G,
    Signature,
    call,
    chain,
    chord,
    group,
    numbers,
    planned,
    tasks_in,
    tree,
)

CASES = {
    "one": (A, "a", "a", []),
    "chain": (chain(A, B, C), "a", "c<b<a", []),
    "group": (group(A, B), "ab", "[a,b]", []),
    "empty group": (group(), "", "[]", []),
    "chain that ends in a group": (chain(A, group(B, C)), "a", "[b,c]<a", []),
    "chord": (chord([A, B], C), "ab", "c<[a,b]", [2]),
    "chord of one": (chord([A], B), "a", "b<[a]", [1]),
    "chord of none": (chord([], B), "b", "b<[]", []),
    "chord of none in a chain": (chain(A, chord([], B), C), "a", "c<b<[]<a", []),
    "group and what follows": (chain(group(A, B), C, D), "ab", "d<c<[a,b]", [2]),
    "group in a chain": (chain(A, group(B, C), D), "a", "d<[b,c]<a", []),
    "chords in a row": (chain(chord([A], B), chord([C], D), E), "a", "e<d<[c]<b<[a]", [1]),
    "group of chains": (group(chain(A, B), C), "ac", "[b<a,c]", []),
    "group with a chord": (group(chord([A, B], C), D), "abd", "[c<[a,b],d]", [2]),
    "chord of chains": (chord([chain(A, B), C], D), "ac", "d<[b<a,c]", [2]),
    "chord of chords": (chord([chord([A, B], C), D], E), "abd", "e<[c<[a,b],d]", [2, 2]),
    "member that ends in a group": (chord([chain(A, group(B, C)), D], E), "ad", "e<[[b,c]<a,d]", [2]),
    "body that is a group": (chord([A, B], group(C, D)), "ab", "[c,d]<[a,b]", [2]),
    "chord of none before a group": (chord([], group(C, D)), "cd", "[c,d]<[]", []),
    "chord of none before a chord": (chord([], chord([C, D], E)), "cd", "e<[c,d]<[]", [2]),
    "nothing": (chain(), "", "[]", []),
}


@pytest.mark.parametrize(("signature", "first", "result", "sizes"), CASES.values(), ids=CASES.keys())
def test_how_it_begins(signature: Signature, first: str, result: str, sizes: list[int]) -> None:
    before = copy.deepcopy(signature)
    begun = planned(signature)
    assert "".join(each.name for each in begun.calls) == first
    assert tree(begun.result) == result
    assert sorted(chord.size for chord in begun.chords) == sizes
    assert signature == before


@pytest.mark.parametrize(("signature", "_first", "_result", "_sizes"), CASES.values(), ids=CASES.keys())
def test_everything_has_an_id_of_its_own(signature: Signature, _first: str, _result: str, _sizes: list[int]) -> None:
    begun = planned(signature)
    found = ids_sent(begun)
    assert len(set(found)) == len(found)
    assert set(ids_of(begun.result)) <= set(found) | {chord.group_id for chord in begun.chords} | set(groups_of(begun))
    json.dumps([each.options for each in begun.calls])


def ids_sent(begun: Plan) -> list[str]:
    """Return the ids of all tasks that a plan tells of, each once."""
    found: dict[str, None] = {}
    waiting: list[Mapping[str, Any]] = []
    bodies: dict[int, Mapping[str, Any]] = {}

    def look(options: Mapping[str, Any]) -> None:
        found[options["task_id"]] = None
        waiting.extend(options.get("chain") or ())
        if options.get("chord"):
            bodies[id(options["chord"])] = options["chord"]

    for each in begun.calls:
        look(each.options)
    seen = 0
    while waiting or seen < len(bodies):
        signature = waiting.pop() if waiting else list(bodies.values())[seen]
        if not waiting and signature in bodies.values():
            seen += 1
        for task in tasks_in(signature):
            look(task["options"])
    return list(found)


def groups_of(begun: Plan) -> list[str]:
    return [node.id for node in nodes_of(begun.result) if node.members is not None]


def ids_of(result: ResultNode) -> list[str]:
    return [node.id for node in nodes_of(result)]


def nodes_of(result: ResultNode | None) -> list[ResultNode]:
    if result is None:
        return []
    return [result, *itertools.chain(*map(nodes_of, result.members or ())), *nodes_of(result.parent)]


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_the_rest_of_a_chain_travels_last_step_first() -> None:
    (first,) = planned(chain(A, B, C)).calls
    assert first.options == {
        "task_id": "#1",
        "chain": [call("c", task_id="#3"), call("b", task_id="#2")],
    }


def test_a_member_of_a_chord_carries_its_body_and_its_place() -> None:
    begun = planned(chord([A, B], C))
    body = call("c", task_id="#4", group_id="#1")
    assert [each.options for each in begun.calls] == [
        {"task_id": "#2", "group_id": "#1", "group_index": 0, "chord": body},
        {"task_id": "#3", "group_id": "#1", "group_index": 1, "chord": body},
    ]
    assert [(each.group_id, each.size, each.body) for each in begun.chords] == [("#1", 2, body)]


def test_the_last_step_of_a_member_is_the_part() -> None:
    (member,) = planned(chord([chain(A, B)], C)).calls
    body = call("c", task_id="#4", group_id="#1")
    assert member.options == {
        "task_id": "#2",
        "chain": [call("b", task_id="#3", group_id="#1", group_index=0, chord=body)],
    }


def test_the_body_of_a_member_is_the_part() -> None:
    begun = planned(chord([chord([A], B)], C))
    outer = call("c", task_id="#5", group_id="#1")
    inner = call("b", task_id="#4", group_id="#1", group_index=0, chord=outer)
    assert [each.options for each in begun.calls] == [
        {"task_id": "#3", "group_id": "#2", "group_index": 0, "chord": inner}
    ]
    assert [(each.group_id, each.size) for each in begun.chords] == [("#1", 1), ("#2", 1)]


def test_a_chord_among_the_steps_travels_as_celery_writes_it() -> None:
    (first,) = planned(chain(A, group(B, C), D, E)).calls
    header = group(
        call("b", task_id="#3", group_index=0),
        call("c", task_id="#4", group_index=1),
        task_id="#2",
    )
    assert first.options["chain"] == [
        call("e", task_id="#6"),
        chord(header, call("d", task_id="#5"), task_id="#2"),
    ]


def test_what_follows_a_chord_goes_into_its_body() -> None:
    (member,) = planned(chain(chord([A], B), C)).calls
    assert member.options["chord"] == chain(
        call("b", task_id="#3"), call("c", task_id="#4", group_id="#1"), task_id="#4"
    )


def test_a_member_group_of_its_own_is_written_so_that_it_stays_one() -> None:
    (first,) = planned(chain(A, group(chain(group(B, C)), D))).calls
    (step,) = first.options["chain"]
    nested, other = step["kwargs"]["tasks"]
    assert (nested["subtask_type"], [task["task"] for task in nested["kwargs"]["tasks"]]) == ("chain", ["celery.group"])
    assert tree(planned(step).result) == "[[b,c],d]"
    assert other["task"] == "d"


def test_a_body_gets_an_empty_list_where_there_is_nothing_to_wait_for() -> None:
    (body,) = planned(chord([], call("b", 7))).calls
    assert (body.args, body.options["group_id"]) == ([[], 7], "#1")
    (immutable,) = planned(chord([], call("b", 7, immutable=True))).calls
    assert immutable.args == [7]


def test_several_values_become_one_for_a_chord() -> None:
    (member,) = planned(chord([chain(A, group(B, C))], D)).calls
    (step,) = member.options["chain"]
    gathered = step["kwargs"]["body"]
    assert (gathered["task"], gathered["kwargs"], gathered["immutable"]) == ("celery.accumulate", {"index": 0}, False)
    assert (gathered["options"]["group_index"], gathered["options"]["chord"]["task"]) == (0, "d")
    assert step["kwargs"]["header"]["options"]["task_id"] == step["options"]["task_id"]


def test_arguments_go_to_the_first_tasks() -> None:
    def args_of(signature: Signature) -> list[Any]:
        return [list(each.args) for each in planned(signature, (7,)).calls]

    assert args_of(call("a", 1)) == [[7, 1]]
    assert args_of(call("a", 1, immutable=True)) == [[1]]
    assert args_of(chain(call("a", 1), B)) == [[7, 1]]
    assert args_of(group(call("a", 1), call("b", 2, immutable=True))) == [[7, 1], [2]]
    assert args_of(chord([A, chain(B, C)], D)) == [[7], [7]]
    assert args_of(chord([], D)) == [[[]]]
    assert args_of({**chain(A, B), "args": [8]}) == [[7, 8]]
    assert args_of({**chain(A, B), "immutable": True}) == [[]]
    assert args_of({**group(A, B), "immutable": True}) == [[], []]


def test_keyword_arguments_stand_over_a_task_s_own() -> None:
    own = {**A, "kwargs": {"x": 1, "y": 1}}
    (first,) = planned(chain(own, B), (), {"y": 2, "z": 2}).calls
    assert first.kwargs == {"x": 1, "y": 2, "z": 2}
    written = chord([own], B)
    written["kwargs"]["kwargs"] = {"y": 3}
    assert [each.kwargs for each in planned(written).calls] == [{"x": 1, "y": 3}]


def test_map_tasks_are_written_as_plain_data() -> None:
    mapped = {**call("celery.map", immutable=True), "kwargs": {"task": A, "it": [1]}}
    (first,) = planned(chain(B, mapped)).calls
    assert first.options["chain"] == [{**mapped, "options": {"task_id": "#2"}}]


# -- options ----------------------------------------------------------------------------------------------------------


def test_options_of_a_chain() -> None:
    (first,) = planned(
        chain(A, B, C), task_id="T", queue="q", countdown=5, priority=3, headers={"x": 1}, link=D, link_error=[E]
    ).calls
    rest = first.options.pop("chain")
    assert first.options == {
        "queue": "q", "countdown": 5, "priority": 3, "headers": {"x": 1}, "link_error": [E], "task_id": "#1"
    }  # fmt: skip
    assert rest == [call("c", task_id="T", link=[D], link_error=[E]), call("b", link_error=[E], task_id="#2")]


def test_options_of_a_group() -> None:
    begun = planned(group(A, chain(B, C)), task_id="T", queue="q", countdown=5, link=D)
    own, first = (each.options for each in begun.calls)
    assert begun.result.id == "T"
    assert own == {
        "link": [D], "queue": "q", "countdown": 5, "task_id": "#1", "group_id": "T", "group_index": 0
    }  # fmt: skip
    assert first == {
        "queue": "q", "countdown": 5, "task_id": "#2",
        "chain": [call("c", link=[D], task_id="#3", group_id="T", group_index=1)],
    }  # fmt: skip


def test_options_of_a_chord() -> None:
    begun = planned(chord([A, B], C), task_id="T", queue="q", countdown=5, eta="e", priority=3, link=D, link_error=E)
    body = call("c", task_id="T", link=[D], link_error=[E], queue="q", priority=3, group_id="#1")
    for index, each in enumerate(begun.calls):
        assert each.options == {
            "queue": "q", "countdown": 5, "eta": "e", "priority": 3,
            "task_id": f"#{index + 2}", "group_id": "#1", "group_index": index, "chord": body,
        }  # fmt: skip
    assert begun.result.id == "T"


def test_an_errback_goes_to_headers_where_that_is_wanted() -> None:
    ids = numbers()
    workflow = chain(A, chord([B, chain(C, D)], E), F)
    begun = plan(workflow, (), {}, {"link_error": G}, lambda: next(ids), errbacks_on_headers=True)
    (first,) = begun.calls
    assert first.options["link_error"] == [G]
    for step in first.options["chain"]:
        assert all(task["options"]["link_error"] == [G] for task in tasks_in(step))
    (kept,) = planned(workflow, link_error=G).calls
    with_errback = [
        task["task"] for step in kept.options["chain"] for task in tasks_in(step) if "link_error" in task["options"]
    ]
    assert with_errback == ["f", "e"]


def test_options_of_the_parts_are_not_lost() -> None:
    inner = chain(call("b", queue="own"), C, queue="inner", link=D, countdown=3)
    (first,) = planned(chain(A, inner, E)).calls
    _e, c, b = first.options["chain"]
    assert b["options"] == {"queue": "inner", "countdown": 3, "task_id": "#2"}
    assert c["options"] == {"link": [D], "task_id": "#3"}
    begun = planned(chord([group(A, call("b", queue="own"), queue="inner"), C], D), priority=1)
    assert [each.options.get("queue") for each in begun.calls] == ["inner", "inner", None]
    assert [each.options["priority"] for each in begun.calls] == [1, 1, 1]
    begun = planned(chain(group(A, B, queue="inner"), C))
    assert [each.options.get("queue") for each in begun.calls] == ["inner", "inner"]
    assert "queue" not in begun.chords[0].body["options"]


def test_headers_are_put_together() -> None:
    (one,) = planned(call("a", headers={"x": 1, "y": 1}), headers={"y": 2}).calls
    assert one.options["headers"] == {"x": 1, "y": 2}


def test_links_are_added_once() -> None:
    (first,) = planned(chain(A, call("b", link=[C]), link=C), link=[C, D]).calls
    assert first.options["chain"][0]["options"]["link"] == [C, D]


def test_where_a_value_is_to_go() -> None:
    (first,) = planned(chain(A, B), chord=C, group_id="G", group_index=3).calls
    assert first.options["chain"] == [call("b", chord=C, group_id="G", group_index=3, task_id="#2")]
    begun = planned(group(A, B), chord=C, group_id="G", group_index=3, task_id="T")
    (opened,) = begun.chords
    assert opened.body == {
        **call("celery.accumulate", task_id="T", group_id="G", group_index=3, chord=C), "kwargs": {"index": 0}
    }  # fmt: skip
    (empty,) = planned(group(), chord=C, group_id="G").calls
    assert (empty.name, empty.args, empty.options["chord"]) == ("celery.accumulate", [[]], C)


def test_what_follows() -> None:
    (first,) = planned(A, chain=[C, B]).calls
    assert [step["task"] for step in first.options["chain"]] == ["c", "b"]
    (member,) = planned(chord([A], B), chain=[D, C]).calls
    assert [task["task"] for task in tasks_in(member.options["chord"])] == ["b", "c", "d"]
    begun = planned(group(A, B), chain=[D, C])
    assert [(each.size, each.body["task"]) for each in begun.chords] == [(2, "celery.chain")]


def test_the_moment_s_options_are_for_what_is_sent_now() -> None:
    (first,) = planned(chain(A, B), root_id="R", parent_id="P", reply_to="X").calls
    (rest,) = first.options["chain"]
    assert (first.options["root_id"], first.options["parent_id"], first.options["reply_to"]) == ("R", "P", "X")
    assert rest["options"] == {"task_id": "#2", "reply_to": "X"}
    (body,) = planned(chord([], A), root_id="R", parent_id="P").calls
    assert (body.options["root_id"], body.options["parent_id"]) == ("R", "P")


def test_what_comes_later_is_plain_data() -> None:
    (first,) = planned(
        chain(A, call("b", expires=timedelta(minutes=1), queue=Queue("q"), unique=True, link=(C,)))
    ).calls
    assert first.options["chain"] == [call("b", expires=60.0, queue="q", link=[C], task_id="#2")]


def test_min_successes_travel_in_the_body() -> None:
    begun = planned(chord([A, B], chain(C, D), min_successes=1))
    assert begun.chords[0].body["options"] == {"task_id": "#5", MIN_SUCCESSES: 1}
    assert begun.result.parent is not None
    header = begun.result.parent.parent
    assert header is not None
    assert header.min_successes == 1
    (first,) = planned(chain(A, chord([B], C, min_successes=0))).calls
    assert first.options["chain"][0]["kwargs"]["body"]["options"][MIN_SUCCESSES] == 0
    assert planned(first.options["chain"][0]).chords[0].body["options"][MIN_SUCCESSES] == 0
    assert MIN_SUCCESSES not in planned(chord([], C, min_successes=0)).calls[0].options


def test_min_successes_of_a_body_that_is_a_chord_are_its_own() -> None:
    for outer, options in ((None, {}), (2, {MIN_SUCCESSES: 2})):
        inner = chord([A, B, C], D, min_successes=3)
        begun = planned(chord([A, B], inner, **({} if outer is None else {"min_successes": outer})))
        body = begun.chords[0].body
        assert {name: body["options"].get(name) for name in options} == options
        assert body["kwargs"]["body"]["options"][MIN_SUCCESSES] == 3
        assert planned(body).chords[0].body["options"][MIN_SUCCESSES] == 3
    without = planned(chord([A, B], chord([A, B, C], D), min_successes=2)).chords[0].body
    assert MIN_SUCCESSES not in planned(without).chords[0].body["options"]


# -- results ----------------------------------------------------------------------------------------------------------


def test_result_tuples_are_celery_s() -> None:
    assert planned(chain(A, group(B, C))).result.as_tuple() == [
        ["#2", [["#1", None], None]],
        [[["#3", None], None], [["#4", None], None]],
    ]


def test_what_comes_first_is_the_child() -> None:
    def child(signature: Signature) -> str:
        return tree(planned(signature).child)

    assert child(chain(A, B)) == "a"
    assert child(chain(group(A, chain(B, C)), D)) == "[a,c<b]"
    assert child(group(A, B)) == "[a,b]"
    assert child(chord([], A)) == "a"


def test_a_tuple_goes_only_so_far_back() -> None:
    written = planned(chain(*[A] * 100)).result.as_tuple()
    json_text = serializers.dumps({"children": [written]}, "json", None).data
    assert 10 < json_text.count(b"#") < 40


def test_all_tasks_are_known() -> None:
    begun = planned(chain(A, call("b", 1, immutable=True), group(C, D), E))
    assert [(each.name, each.immutable) for each in begun.tasks] == [
        ("a", False), ("b", True), ("c", False), ("d", False), ("e", False)
    ]  # fmt: skip


def test_a_chord_to_come_needs_counting() -> None:
    assert planned(chain(A, group(B, C), D)).needs_counting
    assert planned(group(A, chord([B], C))).needs_counting
    for without in (chain(A, B, group(C, D)), chord([], A), group(chain(A, B))):
        assert not planned(without).needs_counting


# -- what comes in a message ------------------------------------------------------------------------------------------


def test_a_step_keeps_its_ids() -> None:
    """What we send is read again by whoever sends the next step; nothing is invented there."""
    (first,) = planned(chain(A, group(B, C), D, group(E, F), G)).calls
    rest = json.loads(json.dumps(first.options["chain"]))
    step = rest.pop()
    begun = plan(step, ("value",), {}, {"chain": rest, "root_id": "R", "parent_id": "P"}, no_more_ids)
    assert [(each.name, each.args) for each in begun.calls] == [("b", ["value"]), ("c", ["value"])]
    assert [each.options["task_id"] for each in begun.calls] == ["#3", "#4"]
    assert [each.options["root_id"] for each in begun.calls] == ["R", "R"]
    body = json.loads(json.dumps(begun.chords[0].body))
    (next_call,) = plan(body, (["b", "c"],), {}, {}, no_more_ids).calls
    assert (next_call.name, next_call.args, next_call.options["task_id"]) == ("d", [["b", "c"]], "#5")
    again = next_call.options["chain"]
    last = plan(again.pop(), ("d",), {}, {"chain": again}, no_more_ids)
    assert [each.options["task_id"] for each in last.calls] == ["#7", "#8"]
    assert (
        last.chords[0].body["options"]["task_id"] == first.options["chain"][0]["kwargs"]["body"]["options"]["task_id"]
    )


def no_more_ids() -> str:
    raise AssertionError("everything was frozen before")


FROZEN_GROUP = group(
    call("b", task_id="B", group_id="OUTER", chord=call("e", task_id="E"), group_index=0),
    call("c", task_id="C", group_id="OUTER", chord=call("e", task_id="E"), group_index=1),
    task_id="GROUP",
    group_id="OUTER",
    chord=call("e", task_id="E"),
    group_index=0,
    root_id=None,
    parent_id=None,
)
"""The last step of a chain in a header, as Celery's senders write it: each of its members is a part by itself."""


def test_members_of_celery_s_group_are_parts_by_themselves() -> None:
    begun = plan(FROZEN_GROUP, (1,), {}, {"root_id": "R"}, no_more_ids)
    assert begun.chords == []
    assert [each.options for each in begun.calls] == [
        {"task_id": "B", "group_id": "OUTER", "chord": call("e", task_id="E"), "group_index": 0, "root_id": "R"},
        {"task_id": "C", "group_id": "OUTER", "chord": call("e", task_id="E"), "group_index": 1, "root_id": "R"},
    ]
    nested = group(chain(A, FROZEN_GROUP, task_id="GROUP"), call("d", chord=E, group_id="OUTER"), task_id="X", chord=E)
    assert planned(nested).chords == []


def test_so_they_are_when_only_their_group_names_the_chord() -> None:
    """So it is written in a group within a group; the group that the members name is that of the chord, whatever its body is."""
    for outer in (call("e", task_id="E", group_id="OUTER"), chord([A], call("e", task_id="E", group_id="OUTER"))):
        members = [call("b", task_id="B", group_id="OUTER"), call("c", task_id="C", group_id="OUTER")]
        written = group(*members, task_id="GROUP", group_id="ITS HEADER", group_index=3, chord=outer)
        begun = plan(written, (1,), {}, {}, no_more_ids)
        assert begun.chords == []
        assert [each.options["chord"] for each in begun.calls] == [outer, outer]
        assert [each.options["group_id"] for each in begun.calls] == ["OUTER", "OUTER"]


def test_a_group_of_celery_s_in_the_header_of_a_chord_is_one_part() -> None:
    """So it is where the chord itself comes from Celery, and has not been opened."""
    member = chain(call("a", task_id="A"), FROZEN_GROUP, task_id="GROUP")
    header = group(member, call("d", task_id="D", group_index=1), task_id="H", root_id=None, parent_id=None)
    begun = planned(chord(header, call("x", task_id="X"), task_id="H"))
    assert [(each.group_id, each.size) for each in begun.chords] == [("H", 2)]
    (step,) = begun.calls[0].options["chain"]
    assert [task["options"].get("chord") is None for task in tasks_in(step)] == [True, True, False]
    assert [task["options"]["task_id"] for task in tasks_in(step)] == ["B", "C", "#1"]


def test_celery_s_chord_in_the_middle_of_a_chain() -> None:
    header = group(
        call("b", task_id="B", group_index=0),
        call("c", task_id="C", group_index=1),
        task_id="H",
        root_id=None,
        parent_id=None,
    )
    step = chord(header, call("d", task_id="D"), task_id="H")
    begun = plan(step, (1,), {}, {"chain": [call("f", task_id="F"), call("e", task_id="E")]}, no_more_ids)
    assert [each.options["group_id"] for each in begun.calls] == ["H", "H"]
    assert [task["options"]["task_id"] for task in tasks_in(begun.chords[0].body)] == ["D", "E", "F"]


def test_celery_s_body_with_what_follows_in_its_options() -> None:
    body = call("b", task_id="B", group_id="G", chain=[group(call("c", task_id="C"), task_id="H", root_id=None)])
    (first,) = plan(body, ([1],), {}, {}, no_more_ids).calls
    assert (first.options["task_id"], first.options["chain"][0]["options"]) == ("B", {"task_id": "H"})


def test_a_frozen_header_says_nothing_of_its_chord() -> None:
    """As Celery's `freeze` leaves it, with the body in the options of the members."""
    body = call("c", task_id="C")
    header = group(
        call("a", task_id="A", chord=body, group_index=0),
        chain(call("b", task_id="B", chord=body, group_index=1)),
        task_id="H",
        chord=body,
    )
    begun = plan(chord(header, body, task_id="H"), (), {}, {}, no_more_ids)
    assert {each.options["chord"]["options"]["group_id"] for each in begun.calls} == {"H"}


def test_the_id_of_a_chord_that_was_not_frozen_is_its_body_s() -> None:
    begun = planned(chord([A], B, task_id="T"))
    assert (begun.result.id, begun.chords[0].group_id) == ("T", "#1")


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda n: chain(*[A] * n),
        lambda n: group(*[A] * n),
        lambda n: chord([A] * n, B),
        lambda n: chord([chain(A, B)] * n, C),
        lambda n: chain(A, *[group(A, B), C] * n),
        lambda n: chain(group(A, B), *[C, group(A, B)] * n),
    ],
    ids=["chain", "group", "chord", "chord of chains", "groups and steps", "steps after groups"],
)
def test_what_is_sent_grows_with_the_workflow_and_no_faster(make: Callable[[int], Signature]) -> None:
    def size(n: int) -> int:
        return sum(len(serializers.dumps(each.options, "json", None).data) for each in planned(make(n)).calls)

    assert size(4000) < 4.5 * size(1000)


def test_arguments_are_not_copied() -> None:
    large = ["x" * 1000] * 10
    begun = planned(chain(group(call("a", large), call("a", large)), call("b", large)))
    assert all(each.args[0] is large for each in begun.calls)
    assert begun.chords[0].body["args"][0] is large


def test_what_is_nested_beyond_writing_is_refused() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        planned(chain(*[group(A, B)] * 3000))


def test_a_long_row_of_groups_is_told_when_it_is_written() -> None:
    begun = planned(chain(*[group(A, B)] * MAX_DEPTH))
    with pytest.raises(EncodeError, match=f"nested more than {MAX_DEPTH} levels deep"):
        serializers.dumps(begun.calls[0].options, "json", None)
