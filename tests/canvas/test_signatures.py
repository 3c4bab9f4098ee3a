"""Signatures and workflows as objects: how they are made, put together, shown, copied and frozen. Nothing is sent."""

from __future__ import annotations

import copy
import functools
import json
import operator
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import celeriac
from celeriac import AsyncResult, Celeriac, canvas
from celeriac.client import current
from celeriac.exceptions import NotRegistered
from celeriac.result import GroupResult
from tests.canvas import written

# What type checkers make of them is for tests/typing to say.
Signature: Any = canvas.Signature
chain: Any = canvas.chain
chord: Any = canvas.chord
chunks: Any = canvas.chunks
group: Any = canvas.group
maybe_signature: Any = canvas.maybe_signature
signature: Any = canvas.signature
xmap: Any = canvas.xmap
xstarmap: Any = canvas.xstarmap


@pytest.fixture(autouse=True)
def app() -> Iterator[Celeriac]:
    """Make an app with the tasks a, b, c and d the current one."""
    with current.kept(), Celeriac("canvas", broker="memory://", backend="memory://") as app:
        for name in "abcd":
            app.task(name=name)(take)
        yield app


def take(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def a(*args: Any, **kwargs: Any) -> Any:
    return signature("a", args, kwargs)


def b(*args: Any, **kwargs: Any) -> Any:
    return signature("b", args, kwargs)


def c(*args: Any, **kwargs: Any) -> Any:
    return signature("c", args, kwargs)


def d(*args: Any, **kwargs: Any) -> Any:
    return signature("d", args, kwargs)


A, B, C, D = written.A, written.B, written.C, written.D


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


# -- Celery's dict forms ----------------------------------------------------------------------------------------------

FORMS = {
    "chain": (lambda: chain(a(), b()), written.chain(A, B)),
    "chain of a list": (lambda: chain([a(), b()]), written.chain(A, B)),
    "chain of a generator": (lambda: chain(make() for make in (a, b)), written.chain(A, B)),
    "chain of one": (lambda: chain(a()), written.chain(A)),
    "empty chain": (chain, written.chain()),
    "chain with options": (lambda: chain(a(), b(), queue="q"), written.chain(A, B, queue="q")),
    "chain of chains": (lambda: chain(chain(a(), b()), chain(c())), written.chain(A, B, C)),
    "chain with a group": (lambda: chain(a(), group(b(), c())), written.chain(A, written.group(B, C))),
    "chain with a group and more": (
        lambda: chain(a(), group(b(), c()), d()),
        written.chain(A, written.chord([B, C], D)),
    ),
    "chain of dicts": (lambda: chain(dict(a()), dict(b())), written.chain(A, B)),
    "group": (lambda: group(a(), b()), written.group(A, B)),
    "group of a list": (lambda: group([a(), b()]), written.group(A, B)),
    "group of a generator": (lambda: group(make() for make in (a, b)), written.group(A, B)),
    "group of a group": (lambda: group(group(a(), b())), written.group(A, B)),
    "group in a group": (lambda: group(a(), group(b())), written.group(A, written.group(B))),
    "group of a chain": (lambda: group(chain(a(), b())), written.group(written.chain(A, B))),
    "group of one": (lambda: group(a()), written.group(A)),
    "empty group": (group, written.group()),
    "group with options": (lambda: group(a(), queue="q"), written.group(A, queue="q")),
    "chord": (lambda: chord([a(), b()], c()), written.chord([A, B], C)),
    "chord of a group": (lambda: chord(group(a(), b()), c()), written.chord([A, B], C)),
    "chord of a generator": (lambda: chord((make() for make in (a, b)), c()), written.chord([A, B], C)),
    "chord of one": (lambda: chord(a(), c()), written.chord([A], C)),
    "chord without a body": (lambda: chord([a()]), written.chord([A], None)),
    "chord with options": (lambda: chord([a()], b(), link=c()), written.chord([A], B, link=C)),
    "task and task": (lambda: a() | b(), written.chain(A, B)),
    "chain and chain": (lambda: (a() | b()) | (c() | d()), written.chain(A, B, C, D)),
    "task and chain": (lambda: a() | (b() | c()), written.chain(A, B, C)),
    "task and group": (lambda: a() | group(b(), c()), written.chain(A, written.group(B, C))),
    "group and task": (lambda: group(a(), b()) | c(), written.chord([A, B], C)),
    "group of one and task": (lambda: group(a()) | b(), written.chord([A], B)),
    "empty group and task": (lambda: group() | b(), written.chord([], B)),
    "group and group": (lambda: group(a()) | group(b()), written.chord([A], written.group(B))),
    "group and chain": (lambda: group(a()) | (b() | c()), written.chord([A], written.chain(B, C))),
    "group, task and task": (lambda: group(a()) | b() | c(), written.chord([A], written.chain(B, C))),
    "chain with a group and task": (
        lambda: a() | group(b(), c()) | d(),
        written.chain(A, written.chord([B, C], D)),
    ),
    "chord and task": (lambda: chord([a()], b()) | c(), written.chord([A], written.chain(B, C))),
    "chord and group": (
        lambda: chord([a()], b()) | group(c()),
        written.chain(written.chord([A], B), written.group(C)),
    ),
    "chord and chord": (
        lambda: chord([a()], b()) | chord([c()], d()),
        written.chord([A], written.chain(B, written.chord([C], D))),
    ),
    "chain with a chord and task": (
        lambda: a() | chord([b()], c()) | d(),
        written.chain(A, written.chord([B], written.chain(C, D))),
    ),
    "task and empty chain": (lambda: a() | chain(), written.chain(A)),
    "empty chain and task": (lambda: chain() | a(), written.chain(A)),
    "task and dict": (lambda: a() | dict(b()), written.chain(A, B)),
    "dict and task": (lambda: dict(a()) | b(), written.chain(A, B)),
    "chain with options and task": (
        lambda: chain(a(), b()).set(queue="q") | c(),
        written.chain(written.chain(A, B, queue="q"), C),
    ),
    "chord with options and task": (
        lambda: chord([a()], b(), queue="q") | c(),
        written.chain(written.chord([A], B, queue="q"), C),
    ),
    "group with options and task": (
        lambda: group(a(), queue="q") | b(),
        written.chord([written.group(A, queue="q")], B),
    ),
    "map": (lambda: xmap(a(), [1, 2]), {**written.call("celery.map", immutable=True), "kwargs": {"task": A, "it": [1, 2]}}),
    "starmap": (
        lambda: xstarmap(a(), iter([(1, 2)])),
        {**written.call("celery.starmap", immutable=True), "kwargs": {"task": A, "it": [[1, 2]]}},
    ),
    "chunks": (
        lambda: chunks(a(), [(1,), (2,)], 1),
        {**written.call("celery.chunks", immutable=True), "kwargs": {"task": A, "it": [[1], [2]], "n": 1}},
    ),
    "signature with options": (
        lambda: signature("a", (1,), {"k": 2}, queue="q", immutable=True, countdown=1),
        {**written.call("a", 1, immutable=True, queue="q", countdown=1), "kwargs": {"k": 2}},
    ),
    "signature with all by name": (
        lambda: signature("a", args=(1,), kwargs={"k": 2}, options={"queue": "q"}),
        {**written.call("a", 1, queue="q"), "kwargs": {"k": 2}},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "form"), FORMS.values(), ids=FORMS.keys())
def test_a_signature_has_celery_s_form(make: Any, form: dict[str, Any]) -> None:
    made = make()
    assert plain(made) == form
    assert list(made) == ["task", "args", "kwargs", "options", "subtask_type", "immutable"]


@pytest.mark.parametrize(("make", "_form"), FORMS.values(), ids=FORMS.keys())
def test_a_signature_is_made_from_json_again(make: Any, _form: dict[str, Any]) -> None:
    made = make()
    again = signature(plain(made))
    assert plain(again) == plain(made)
    if made["subtask_type"] is not None:
        assert type(again) is type(made)
        assert repr(again) == repr(made)
    assert type(Signature.from_dict(plain(made))) is type(again)


@pytest.mark.parametrize(("make", "_form"), FORMS.values(), ids=FORMS.keys())
def test_copies_are_of_the_same_kind(make: Any, _form: dict[str, Any]) -> None:
    made = make()
    for copied in (made.clone(), copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert plain(copied) == plain(made)
        assert isinstance(copied, Signature)
    assert type(made.clone()) is type(made)


def test_parts_are_signatures_too() -> None:
    made = signature(plain(chain(a(), chord([chain(b(), c())], group(d())))))
    assert isinstance(made, chain)
    first, second = made.tasks
    assert (type(first), type(second)) == (Signature, chord)
    assert isinstance(second, chord)
    assert (type(second.tasks[0]), type(second.body)) == (chain, group)


# -- putting together -------------------------------------------------------------------------------------------------

OPERANDS = {
    "task": a, "chain": lambda: chain(a(), b()), "group": lambda: group(a(), b()), "chord": lambda: chord([a()], b()),
    "chain that ends in a group": lambda: a() | group(b(), c()), "chain that ends in a chord": lambda: a() | chord([b()], c()),
    "empty chain": chain, "empty group": group, "map": lambda: xmap(a(), [1]),
}  # fmt: skip


@pytest.mark.parametrize("left", OPERANDS.values(), ids=OPERANDS.keys())
@pytest.mark.parametrize("right", OPERANDS.values(), ids=OPERANDS.keys())
def test_operands_stay_as_they_are(left: Any, right: Any) -> None:
    one, two = left(), right()
    before = plain([one, two])
    both = one | two
    one |= two
    assert plain(one) == plain(both)
    assert plain([left(), two]) == before


def test_what_is_put_together_does_not_change_what_it_was_made_of() -> None:
    first, second = chain(a(), b()), c()
    both = first | second
    both.tasks.append(d())
    assert len(first.tasks) == 2
    members = group(a(), b())
    bound = members | c()
    bound.tasks.append(d())
    assert len(members.tasks) == 2
    one = chord([a()], b())
    longer = one | c()
    longer.tasks.append(d())
    longer.set(queue="q")
    assert plain(one) == written.chord([A], B)


def test_many_are_put_together_one_by_one() -> None:
    steps = 1000
    made = functools.reduce(operator.or_, [a(number) for number in range(steps)])
    assert [step.args for step in made.tasks] == [[number] for number in range(steps)]
    backwards = functools.reduce(lambda rest, step: step | rest, [a(number) for number in range(steps)])
    assert len(backwards.tasks) == steps
    assert len(repr(made)) > steps


@pytest.mark.parametrize("wrong", [5, None, "b", [1]])
def test_only_signatures_are_put_together(wrong: Any) -> None:
    attempts: list[Callable[[], Any]] = [lambda: a() | wrong, lambda: wrong | a()]
    for both in attempts:
        with pytest.raises(TypeError, match="unsupported operand"):
            both()


def test_a_task_that_is_no_signature(app: Celeriac) -> None:
    task = app.tasks["a"]
    forgotten: list[Callable[[], Any]] = [
        lambda: chain(task, task),
        lambda: group([task]),
        lambda: chord([task], a()),
        lambda: chord([a()], task),
    ]
    for make in forgotten:
        with pytest.raises(TypeError, match=r"such as task\.s\(\.\.\.\), not <task a>: write a\.s\(\.\.\.\)"):
            make()
    wrong: list[Callable[[], Any]] = [
        lambda: chain(1, 2),
        lambda: chain(5),
        lambda: group(3),
        lambda: group([a(), [b()]]),
        lambda: chord(3, a()),
    ]
    for make in wrong:
        with pytest.raises(TypeError, match=r"such as task\.s\(\.\.\.\)"):
            make()
    with pytest.raises(TypeError, match="a signature names its task"):
        signature({"nope": 1})
    with pytest.raises(TypeError, match="a signature names its task"):
        signature("")


def test_a_task_can_stand_for_its_name(app: Celeriac) -> None:
    task = app.tasks["a"]
    assert plain(signature(task)) == plain(Signature(task)) == A
    assert Signature(type=task, args=(1,)).type is task


# -- showing ----------------------------------------------------------------------------------------------------------

TEXTS = {
    "a(1, k=2)": lambda: a(1, k=2),
    "a() | b(1)": lambda: a() | b(1),
    "<chain: empty>": chain,
    "group([a(), b()])": lambda: group(a(), b()),
    "group(<empty>)": group,
    "%c([a(), b()])": lambda: chord([a(), b()], c()),
    "%c([], 1)": lambda: chord([], c(1)),
    "<chord without body: [a()]>": lambda: chord([a()]),
    "%(c([a()], 1) | d())": lambda: chord([a()], c(1) | d()),
    "a() | %d([b(), c()])": lambda: chain(a(), group(b(), c()), d()),
    "%(group([b(), c()]))([a()])": lambda: group(a()) | group(b(), c()),
    "[a(x) for x in [1, 2]]": lambda: xmap(a(), [1, 2]),
    "[a(*x) for x in [(1, 2)]]": lambda: xstarmap(a(), [(1, 2)]),
    "celery.chunks(task=a(), it=[(1,)], n=1)": lambda: chunks(a(), [(1,)], 1),
}


@pytest.mark.parametrize(("text", "make"), TEXTS.items(), ids=TEXTS.keys())
def test_what_a_signature_looks_like(text: str, make: Any) -> None:
    assert repr(make()) == str(make()) == text


def test_a_long_group_is_cut() -> None:
    assert repr(group(a() for _ in range(500))).endswith("a(), ... 480 more])")


def test_the_text_of_a_call() -> None:
    assert a(1, k="x").reprcall(5, z=1) == "a(5, 1, k='x', z=1)"


# -- looking and changing ---------------------------------------------------------------------------------------------


def test_what_a_signature_says(app: Celeriac) -> None:
    made = signature("a", (1,), {"k": 2}, app=app)
    assert (made.task, made.name, made.args, made.kwargs, made.options) == ("a", "a", [1], {"k": 2}, {})
    assert (made.immutable, made.subtask_type, made.id, made.root_id, made.parent_id) == (False, None, None, None, None)
    assert made.app is app
    assert made.type is app.tasks["a"]
    with pytest.raises(NotRegistered):
        _ = signature("nothing").type
    assert a(1) == a(1) == dict(a(1)) != a(2)
    assert (len(group(a(), b())), bool(group()), bool(chain())) == (2, False, True)


def test_set_and_clone() -> None:
    made = a(1, k=1)
    assert made.set(queue="q", immutable=True) is made
    assert (made.options, made.immutable) == ({"queue": "q"}, True)
    assert plain(made.clone((9,), {"k": 9}, countdown=1)) == {
        **written.call("a", 1, immutable=True, queue="q", countdown=1), "kwargs": {"k": 1}
    }  # fmt: skip
    assert plain(a(1).clone((2,), {"k": 3}, queue="q")) == {**written.call("a", 2, 1, queue="q"), "kwargs": {"k": 3}}
    assert plain(a(1).partial((2,))) == written.call("a", 2, 1)
    assert plain(a(1, y=2).set(queue="q").replace(args=(7,))) == {**written.call("a", 7, queue="q"), "kwargs": {"y": 2}}
    assert plain(a(1).set(countdown=1).replace(kwargs={"k": 1}, options={"queue": "x"})) == {
        **written.call("a", 1, queue="x"), "kwargs": {"k": 1}
    }  # fmt: skip


@pytest.mark.parametrize("make", OPERANDS.values(), ids=OPERANDS.keys())
def test_a_clone_shares_no_options(make: Any) -> None:
    made = make()
    before = plain(made)
    cloned = made.clone()
    for each in (cloned, *getattr(cloned, "tasks", ()), getattr(cloned, "body", None)):
        if each is not None:
            each.set(queue="changed")
            each.link(a())
    assert plain(made) == before


def test_immutable_workflows() -> None:
    assert [task.immutable for task in group(a(), b()).set(immutable=True).tasks] == [True, True]
    made = chord([a()], b()).set(immutable=True)
    assert made.body is not None
    assert (made.tasks[0].immutable, made.body.immutable) == (True, False)
    assert chain(a(), b()).set(immutable=True).immutable


def test_links() -> None:
    made = a()
    assert made.link(b()) == B
    made.link(b())
    made.link(c().set(link=d()))
    assert made.link_error(c()) == C
    assert made.on_error(d()) is made
    assert plain(made.options) == {"link": [B, written.call("c", link=D)], "link_error": [C, D]}
    assert [each.task for each in made.flatten_links()] == ["a", "b", "c", "d"]
    for add in (made.link, made.link_error):
        with pytest.raises(TypeError, match="link and link_error take signatures"):
            add("b")


def test_links_of_workflows() -> None:
    steps = chain(a(), b())
    steps.link(c())
    steps.link_error(d())
    assert plain(steps.unchain_tasks()) == [
        written.call("a", link_error=[D]),
        written.call("b", link=[C], link_error=[D]),
    ]
    first, second = a(), b()
    members = group(first, second)
    members.link(c())
    members.link_error(d())
    assert plain(members.tasks) == [
        written.call("a", link=[written.call("c", immutable=True)], link_error=[D]),
        written.call("b", link_error=[D]),
    ]
    assert plain([first, second]) == [A, B]
    assert group().link(a()) == A


def test_skew() -> None:
    def waits(*args: float, **kwargs: float) -> list[Any]:
        return [task.options["countdown"] for task in group(a() for _ in range(4)).skew(*args, **kwargs).tasks]

    assert waits() == [1, 2, 3, 4]
    assert waits(start=1, stop=10, step=2) == [1, 3, 5, 7]
    assert waits(start=1, stop=2) == [1, 2, 2, 2]


def test_maps_have_no_arguments_of_their_own() -> None:
    with pytest.raises(TypeError, match="the arguments come from the list"):
        xmap(a(1), [1])
    with pytest.raises(ValueError, match="at least 1"):
        chunks(a(), [(1,)], 0).group()
    assert plain(chunks(a(), [(1,), (2,), (3,)], 2, queue="q").group()) == written.group(
        plain(xstarmap(a(), [(1,), (2,)])), plain(xstarmap(a(), [(3,)])), queue="q"
    )


def test_maps_of_a_task(app: Celeriac) -> None:
    task = app.tasks["a"]
    assert plain(task.map(range(2))) == plain(xmap(a(), [0, 1]))
    assert plain(task.starmap([(1, 2)])) == plain(xstarmap(a(), [(1, 2)]))
    assert plain(task.chunks(zip(range(2), range(2), strict=True), 1)) == plain(chunks(a(), [(0, 0), (1, 1)], 1))


def test_how_many_successes_are_enough() -> None:
    assert chord([a()], b(), min_successes=1).options == {"min_successes": 1}
    with pytest.raises(ValueError, match="min_successes=-1"):
        chord([a()], b(), min_successes=-1)
    with pytest.raises(TypeError, match="min_successes"):
        chord([a()], b(), min_successes="1")


# -- freezing ---------------------------------------------------------------------------------------------------------


def test_a_frozen_signature_knows_its_result() -> None:
    made = a()
    result = made.freeze()
    assert isinstance(result, AsyncResult)
    assert result.id == made.id
    assert made.freeze("other").id == result.id
    placed = a()
    placed.freeze("ID", group_id="G", chord=b(), root_id="R", parent_id="P", group_index=3)
    assert plain(placed.options) == {
        "task_id": "ID", "group_id": "G", "chord": B, "root_id": "R", "parent_id": "P", "group_index": 3
    }  # fmt: skip


def test_a_frozen_workflow_knows_its_results() -> None:
    made = chain(a(), group(b(), c()), d())
    result = made.freeze("ID")
    (first, second) = made.tasks
    assert isinstance(second, chord)
    assert second.body is not None
    header = result.parent
    assert isinstance(header, GroupResult)
    assert (result.id, made.id, second.body.id, second.id) == ("ID", "ID", "ID", header.id)
    assert [member.id for member in header.results] == [task.id for task in second.tasks]
    assert header.parent is not None
    assert header.parent.id == first.id
    again = made.freeze("OTHER")
    assert again.as_tuple() == result.as_tuple()


def test_frozen_groups_and_chords() -> None:
    members = group(a(), chain(b(), c()))
    result = members.freeze()
    assert isinstance(result, GroupResult)
    assert result.id == members.id
    assert [each.options.get("group_index") for each in members.tasks] == [0, None]
    bound = chord([a()], chain(b(), c()))
    result = bound.freeze("ID")
    assert (result.id, isinstance(bound.body, chain), bound.body and bound.body.id) == ("ID", True, "ID")
    assert isinstance(group().freeze(), GroupResult)
    parts = group(a(), b())
    parts.freeze(chord=d(), group_id="G")
    assert [plain(each.options["chord"]) for each in parts.tasks] == [D, D]


# -- names ------------------------------------------------------------------------------------------------------------


def test_celery_s_names() -> None:
    assert set(canvas.__all__) >= {
        "Signature", "chain", "xmap", "xstarmap", "chunks", "group", "chord", "signature", "maybe_signature", "subtask",
    }  # fmt: skip
    for name in ("Signature", "chain", "chord", "chunks", "group", "maybe_signature", "signature", "xmap", "xstarmap"):
        assert getattr(celeriac, name) is getattr(canvas, name)
        assert name in celeriac.__all__
    assert (canvas._chain, canvas._chord) == (chain, chord)
    kinds = {"chain": chain, "group": group, "chord": chord, "xmap": xmap, "xstarmap": xstarmap, "chunks": chunks}
    assert dict(Signature.TYPES) == kinds


def test_what_may_be_a_signature() -> None:
    made = a()
    assert maybe_signature(made) is made
    assert maybe_signature(made, clone=True) is not made
    assert signature(made) is not made
    assert maybe_signature(None) is None
    assert maybe_signature("x") == "x"
    assert isinstance(maybe_signature(plain(group(a()))), group)


def test_a_class_makes_its_own_from_a_dict() -> None:
    assert repr(chain.from_dict({"kwargs": {"tasks": [a(), b()]}, "options": {}})) == "a() | b()"
    assert repr(group.from_dict({"kwargs": {"tasks": [a()]}})) == "group([a()])"
    assert isinstance(Signature.from_dict({"task": "a"}), Signature)


def test_a_kind_of_one_s_own() -> None:
    @Signature.register_type("mine")
    class Mine(canvas.Signature):
        """A signature of the program's."""

    try:
        made = signature({"task": "a", "subtask_type": "mine"})
        assert (type(made), made.args) == (Mine, [])
    finally:
        del Signature.TYPES["mine"]
