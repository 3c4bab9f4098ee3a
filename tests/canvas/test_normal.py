"""The normal form of workflows: what a signature stands for."""

from __future__ import annotations

import copy

import pytest

from celeriac.client.canvas.nodes import MIN_SUCCESSES, CallNode, ChordNode, all_calls
from celeriac.client.canvas.reading import read
from tests.canvas.written import A, B, C, D, E, F, Signature, call, chain, chord, group, shown

CHUNKS = {**call("celery.chunks", immutable=True), "kwargs": {"task": A, "it": [[1], [2], [3]], "n": 2}}

FORMS = {
    "one": (A, "a"),
    "chain": (chain(A, B, C), "(a|b|c)"),
    "chains in chains": (chain(chain(A, chain(B)), chain(chain(C, D))), "(a|b|c|d)"),
    "chain of one": (chain(A), "a"),
    "empty chains fall away": (chain(chain(), A, chain(chain())), "a"),
    "nothing": (chain(chain()), ""),
    "group": (group(A, B), "[a,b]"),
    "groups in groups, in order": (group(A, group(B, group(C, D)), E), "[a,b,c,d,e]"),
    "empty group in a group": (group(group(), A, chain()), "[a]"),
    "group of one": (group(A), "[a]"),
    "a chain of one group stays one member": (group(chain(group(A, B)), C), "[[a,b],c]"),
    "chain that ends in a group": (chain(A, group(B, C)), "(a|[b,c])"),
    "group and what follows": (chain(group(A, B), C), "[a,b]>c"),
    "group of one and what follows": (chain(A, group(B), C), "(a|[b]>c)"),
    "empty group and what follows": (chain(A, group(), C), "(a|[]>c)"),
    "group in the middle": (chain(A, group(B, C), D, E), "(a|[b,c]>d|e)"),
    "group after group": (chain(group(A, B), group(C, D)), "[a,b]>[c,d]"),
    "group after group after group": (chain(group(A), group(B), group(C), D), "[a]>[b]>[c]>d"),
    "chord": (chord([A, B], C), "[a,b]>c"),
    "chord of a group": (chord(group(A, B), C), "[a,b]>c"),
    "chord of one task": (chord(A, C), "[a]>c"),
    "chord of a chain": (chord(chain(A, B), C), "[(a|b)]>c"),
    "chord of nothing": (chord([], C), "[]>c"),
    "groups in a header, in order": (chord([group(A, B), C, group(D)], E), "[a,b,c,d]>e"),
    "chord and what follows": (chain(chord([A], B), C, D), "([a]>b|c|d)"),
    "body that is a chain": (chord([A], chain(B, C)), "[a]>(b|c)"),
    "body that is a group": (chord([A], group(B, C)), "[a]>[b,c]"),
    "body that is a group, and what follows": (chain(chord([A], group(B, C)), D, E), "([a]>[b,c]>d|e)"),
    "body that is a chain of one group": (chord([A], chain(group(B, C))), "[a]>[b,c]"),
    "body that ends in a group, and what follows": (chain(chord([A], chain(B, group(C, D))), E), "[a]>(b|[c,d]>e)"),
    "body that is a chord": (chord([A], chord([B], C)), "[a]>[b]>c"),
    "member that ends in a group": (chord([chain(A, group(B, C)), D], E), "[(a|[b,c]>+),d]>e"),
    "member that is a group of its own": (chord([chain(group(A, B)), C], D), "[[a,b]>+,c]>d"),
    "member that is a chord with a group": (chord([chord([A], group(B, C)), D], E), "[[a]>[b,c]>+,d]>e"),
    "member deep down": (
        chord([chain(A, group(B, chain(C, group(D, E))))], F),
        "[(a|[b,(c|[d,e]>+)]>+)]>f",
    ),
    "member of a group that ends in one": (group(chain(A, group(B, C)), D), "[(a|[b,c]),d]"),
    "member of a chord": (chord([chord([A, B], C), D], E), "[[a,b]>c,d]>e"),
    "chunks": (CHUNKS, "[celery.starmap,celery.starmap]"),
    "chunks in a chain": (chain(B, CHUNKS, C), "(b|[celery.starmap,celery.starmap]>c)"),
    "chunks as a member": (chord([CHUNKS, B], C), "[[celery.starmap,celery.starmap]>+,b]>c"),
    "rest in the options of a step": (call("a", chain=[C, B]), "(a|b|c)"),
    "rest in the options of a group": (group(A, B, chain=[D, C]), "([a,b]>c|d)"),
}


@pytest.mark.parametrize(("signature", "form"), FORMS.values(), ids=FORMS.keys())
def test_normal_form(signature: Signature, form: str) -> None:
    before = copy.deepcopy(signature)
    assert shown(read(signature)) == form
    assert signature == before


def test_what_is_read_shares_no_options() -> None:
    signature = chain(call("a", queue="q"), group(call("b", queue="q"), C), D)
    before = copy.deepcopy(signature)
    node = read(signature)
    assert node is not None
    for each in all_calls(node):
        each.options["task_id"] = "changed"
    assert signature == before


def test_one_step_can_be_used_many_times() -> None:
    assert shown(read(chain(A, group(A, A), A))) == "(a|[a,a]>a)"


@pytest.mark.parametrize(
    ("signature", "error"),
    [
        (chain(A, 5), "a chain's steps are signatures such as task.s(...), not 5"),
        (group(None), "a group's members are signatures such as task.s(...), not None"),
        (chord([{"args": []}], A), "a group's members are signatures such as task.s(...), not {'args': []}"),
        (chord([A], None), "this chord has no body to be called with the results"),
        (chord([A], chain()), "the body of a chord can't be an empty chain"),
    ],
    ids=["step", "member", "header", "no body", "empty body"],
)
def test_what_is_no_workflow(signature: Signature, error: str) -> None:
    with pytest.raises(TypeError) as raised:
        read(signature)
    assert str(raised.value).startswith(error)


def test_a_chord_says_how_many_successes_are_enough() -> None:
    for signature in (chord([A, B], C, min_successes=1), chord([A, B], call("c", **{MIN_SUCCESSES: 1}))):
        node = read(signature)
        assert isinstance(node, ChordNode)
        assert isinstance(node.body, CallNode)
        assert (node.min_successes, node.body.options) == (1, {})


@pytest.mark.parametrize("wanted", [3, -1])
def test_a_chord_can_t_want_more_successes_than_it_has_members(wanted: int) -> None:
    with pytest.raises(ValueError, match=f"min_successes={wanted}"):
        read(chord([A, B], C, min_successes=wanted))
