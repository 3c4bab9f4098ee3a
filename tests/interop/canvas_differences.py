"""Where a workflow ends otherwise on Celery than here, and why: each difference is told by what both give, or by the form of the workflow.

docs/guide/canvas.md lists the same for users.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import Struct

from tests.canvas.expected import ANY_TEXT, Expected, Value, alike
from tests.canvas.trees import Call, Canvas, Chain, Chord, Group, Many, Tree, steps_of, unrolled


class Answer(Struct):
    """What Celery's `get()` gave."""

    seed: int
    value: Any = None
    error: str | None = None
    """Its repr."""
    hangs: bool = False
    refused: str | None = None
    """It could not even be sent."""


class Difference(Struct, frozen=True):
    """One kind of difference."""

    what: str
    why: str
    found: Callable[[Canvas, Expected, Answer], bool]


def difference(canvas: Canvas, expected: Expected, answer: Answer) -> Difference | None:
    """Return what explains that Celery gives something else, or `UNEXPLAINED`; None when it gives the same."""
    if _same(expected, answer):
        return None
    return next((known for known in DIFFERENCES if known.found(canvas, expected, answer)), UNEXPLAINED)


def _same(expected: Expected, answer: Answer) -> bool:
    if answer.hangs or answer.refused:
        return False
    if answer.error is not None:
        return any(alike(_Told(answer.error), error) for error in expected.errors)
    return isinstance(expected.value, Value) and answer.value == expected.value.value


_OTHERS: Final = re.compile(r", and \d+ more failed")

# -- how they are found -----------------------------------------------------------------------------------------------


class _Told(Exception):
    """An error of which only the text is left, with the words of ours in place of Celery's."""

    def __repr__(self) -> str:
        text = re.sub(r"reject requeue=\w+: not here", f"Reject({ANY_TEXT}, False)", str(self.args[0]))
        return re.sub(r"Task of kind '.*?' never registered, .*?imported\.", f"NotRegistered({ANY_TEXT})", text)


def _hangs(_canvas: Canvas, _expected: Expected, answer: Answer) -> bool:
    return answer.hangs


def _same_cause(_canvas: Canvas, expected: Expected, answer: Answer) -> bool:
    if answer.error is None:
        return False
    # Celery names one member that has failed and does not count the others; with nested chords each may be told by either side.
    told, tellable = _Told(_OTHERS.sub("", answer.error)), [*expected.failures, *expected.errors]
    return any(alike(told, _Told(_OTHERS.sub("", repr(error))), anywhere=True) for error in tellable)


def _order(_canvas: Canvas, expected: Expected, answer: Answer) -> bool:
    return _has_value(expected, answer) and _sorted(answer.value) == _sorted(_value(expected))


def _nesting(_canvas: Canvas, expected: Expected, answer: Answer) -> bool:
    return _has_value(expected, answer) and sorted(_leaves(answer.value)) == sorted(_leaves(_value(expected)))


def _has_value(expected: Expected, answer: Answer) -> bool:
    return answer.error is None and not answer.hangs and not answer.refused and isinstance(expected.value, Value)


def _value(expected: Expected) -> Any:
    assert isinstance(expected.value, Value)
    return expected.value.value


def _sorted(value: Any) -> Any:
    match value:
        case list():
            return sorted((_sorted(item) for item in value), key=repr)
        case dict():
            return {key: _sorted(item) for key, item in value.items()}
        case _:
            return value


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case list():
            for item in value:
                yield from _leaves(item)
        case dict():
            for item in value.values():
                yield from _leaves(item)
        case _:
            yield repr(value)


def _form(test: Callable[[Tree], bool]) -> Callable[[Canvas, Expected, Answer], bool]:
    """Return what finds a difference by a form somewhere in the workflow."""

    def found(canvas: Canvas, _expected: Expected, answer: Answer) -> bool:
        return not answer.hangs and any(test(tree) for tree in _trees(canvas.tree))

    return found


def _trees(tree: Tree) -> Iterator[Tree]:
    yield tree
    inner: tuple[Tree, ...] = ()
    match tree:
        case Call():
            inner = tree.links
        case Chain():
            inner = tree.steps
        case Group():
            inner = tree.members
        case Chord():
            inner = (tree.header, tree.body)
    for part in inner:
        yield from _trees(part)


def _chain_is_one_group(tree: Tree) -> bool:
    return isinstance(tree, Chain) and isinstance(_only(steps_of(tree)), Group)


def _only(steps: list[Tree]) -> Tree | None:
    return steps[0] if len(steps) == 1 else None


def _empty_group_is_a_step(tree: Tree) -> bool:
    match tree:
        case Chain():
            steps = steps_of(tree)
        case Chord():
            steps = steps_of(tree.body)
        case _:
            return False
    return any(isinstance(step, Group) and not unrolled(step.members) for step in steps)


def _group_as_body_is_followed(tree: Tree) -> bool:
    steps = steps_of(tree) if isinstance(tree, Chain) else []
    return any(isinstance(step, Chord) and _ends_in_group(step.body) for step in steps[:-1])


def _ends_in_group(tree: Tree) -> bool:
    match tree:
        case Chain():
            return _ends_in_group(tree.steps[-1])
        case Chord():
            return _ends_in_group(tree.body)
        case Many():
            return tree.how == "chunks"
        case _:
            return isinstance(tree, Group)


UNEXPLAINED = Difference("unexplained", "nobody knows", lambda *_: True)
SAME_CAUSE = "another error of the same failure"
ORDER = "the order of nested groups"

DIFFERENCES = (
    Difference(
        "Celery never ends",
        "a failed, rejected, expired or ignoring member is no part of its chord there, and steps behind a failed one that are groups get"
        " no end of their own; here everything comes to an end",
        _hangs,
    ),
    Difference(
        ORDER,
        "Celery turns round the members of a group within a chord's header, or within a group that follows something, and gives some of"
        " them the same place, so that chance decides; here results stand in the order in which they were written",
        _order,
    ),
    Difference(
        "a group of one",
        "as a step of a chain it is taken for its only member by Celery, so that what follows gets a value and not a list of one; and"
        " whether a group within a group gives way to its members depends on what they are",
        _nesting,
    ),
    Difference(
        SAME_CAUSE,
        "what a failed member leads to is told by Celery at another level of nested chords, or another of several failed members",
        _same_cause,
    ),
    Difference(
        "a chain of nothing but a group",
        "the group's members get no arguments on Celery, neither those of a call nor a header's results; here they get them, as from the"
        " group alone",
        _form(_chain_is_one_group),
    ),
    Difference(
        "an empty group",
        "Celery passes over one that is a step or a body, so that what follows gets what came before it; here it gives what any group"
        " gives: a list, of nothing",
        _form(_empty_group_is_a_step),
    ),
    Difference(
        "what follows a chord whose body is a group",
        "Celery may call it with a part of the group's values, or although a member of the group has failed; here the group is a header"
        " like any other",
        _form(_group_as_body_is_followed),
    ),
)
