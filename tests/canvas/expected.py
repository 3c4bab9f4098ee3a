"""What a workflow comes to, worked out in plain Python: its result, which tasks run with what, and which errbacks are called.

Nothing of the library takes part in this but the names of its errors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from celeriac.exceptions import ChordError, NotRegistered, Reject, TaskRevokedError
from tests.canvas import functions
from tests.canvas.trees import (
    NEVER_BEGINS,
    RETRIES,
    Call,
    Canvas,
    Chain,
    Chord,
    Does,
    Errback,
    Group,
    Many,
    Tree,
    chunked,
    steps_of,
    unrolled,
)

ANY_TEXT = "…"
"""Stands in an error's text for what is not worth pinning here."""
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


IGNORED = TaskRevokedError("a step before it ignored itself")


class Unanswerable(Exception):
    """Nobody could ever wait for the end of it: a task that ignores itself stores no result."""


# -- results ----------------------------------------------------------------------------------------------------------


class Value(Struct, frozen=True):
    value: Any


class Error(Struct, frozen=True):
    exc: BaseException
    revoked: bool = False


class Nothing(Struct, frozen=True):
    """It ignored itself: no result is stored, and a chord goes on with None."""


Outcome = Value | Error | Nothing


class Leaf(Struct):
    """The result of a task."""

    outcome: Outcome
    parent: Node | None


class Several(Struct):
    """The result of a group."""

    members: list[Node]
    parent: Node | None
    foregone: Error | None = None
    """Why it never ran."""
    min_successes: int | None = None
    """So many are enough for the chord whose header it is."""


Node = Leaf | Several


class Run(Struct, frozen=True):
    """A task that is to run."""

    args: list[Any]
    times: int


class Expected(Struct):
    """Everything that can be said beforehand of a canvas."""

    result: Node
    runs: dict[str, Run] = field(default_factory=dict)
    errbacks: Counter[str] = field(default_factory=Counter)
    failures: list[BaseException] = field(default_factory=list)
    """The errors of the tasks that fail, as they raise them."""

    @property
    def value(self) -> Outcome:
        """What the result is in itself, whatever came before it."""
        return own_end(self.result)

    @property
    def errors(self) -> list[BaseException]:
        """What asking for the result may raise; empty: it has a value.

        The result's own error, or that of something that it follows from and that is told first.
        """
        return list(_errors_of(self.result))


def own_end(node: Node) -> Outcome:
    """Return the end of a result: of a group the list of its members' ends, or the error of the first that has one."""
    if isinstance(node, Leaf):
        return node.outcome
    ends = [own_end(member) for member in node.members]
    for end in ends:
        if isinstance(end, Error):
            return end
    return Value([end.value if isinstance(end, Value) else None for end in ends])


def _errors_of(node: Node) -> Iterator[BaseException]:
    if isinstance(node, Several):
        own = [error for member in node.members for error in _errors_of(member)]
    else:
        own = [node.outcome.exc] if isinstance(node.outcome, Error) else []
    yield from own
    at = node.parent if own else None
    while at is not None:
        if not (isinstance(at, Several) and at.min_successes is not None):
            yield from (leaf.outcome.exc for leaf in _leaves(at) if isinstance(leaf.outcome, Error))
        at = at.parent


def _leaves(node: Node) -> Iterator[Leaf]:
    if isinstance(node, Leaf):
        yield node
    else:
        for member in node.members:
            yield from _leaves(member)


def _check_answerable(node: Node) -> None:
    if isinstance(node, Several):
        for member in node.members:
            _check_answerable(member)
    elif isinstance(node.outcome, Nothing):
        raise Unanswerable


def alike(real: BaseException, expected: BaseException, *, anywhere: bool = False) -> bool:
    """Tell whether an error is the expected one: by its name and its text, but for ids and for quotes within quotes.

    `anywhere`: or tells of it.
    """
    match = re.search if anywhere else re.fullmatch
    return match(re.escape(_plain(expected)).replace(ANY_TEXT, ".*"), _plain(real), re.DOTALL) is not None


def _plain(error: BaseException) -> str:
    return re.sub(r"[\\'\"]", "", UUID.sub("<id>", repr(error)))


# -- working it out ---------------------------------------------------------------------------------------------------

Given = tuple[Any, ...] | Error
"""What a step gets: arguments, or that it will not run and why."""


def work_out(canvas: Canvas) -> Expected:
    """Return what a canvas comes to. Raises `Unanswerable`."""
    expected = Expected(Several([], None))
    expected.result = _Evaluator(expected).tree(canvas.tree, canvas.args, None)
    _check_answerable(expected.result)
    return expected


class _Evaluator:
    def __init__(self, expected: Expected) -> None:
        self._runs = expected.runs
        self._errbacks = expected.errbacks
        self._failures = expected.failures

    def tree(self, tree: Tree, given: Given, parent: Node | None, *, told: bool = False) -> Node:
        """`told`: what fails here because of a chord before it is told to its errbacks, as if it had run itself."""
        match tree:
            case Call():
                return self._call(tree, given, parent, told)
            case Many(how="chunks"):
                return self.tree(chunked(tree), given, parent)
            case Many():
                return self._many(tree, given, parent)
            case Group():
                return self._group(tree, given, parent, told)
            case Chain():
                return self._steps(steps_of(tree), given, parent, told)
            case Chord():
                return self._steps([tree], given, parent, told)

    # -- tasks

    def _call(self, call: Call, given: Given, parent: Node | None, told: bool) -> Leaf:
        if isinstance(given, Error):
            if told:
                self._tell(call.errbacks)
            return Leaf(given, parent)
        args = [*(() if call.immutable else given), *call.args]
        if call.does not in NEVER_BEGINS:
            self._runs[call.key] = Run(args, 1 + RETRIES * (call.does is Does.RETRY))
        outcome = _end_of(call, args) if call.by is None else _as_one(self.tree(call.by, (), None))
        leaf = Leaf(outcome, parent)
        if isinstance(outcome, Value):
            for link in call.links:
                self.tree(link, (outcome.value,), leaf)
        elif isinstance(outcome, Error):
            self._failures.append(outcome.exc)
            if not outcome.revoked:
                self._tell(call.errbacks)
        return leaf

    def _many(self, many: Many, given: Given, parent: Node | None) -> Leaf:
        if isinstance(given, Error):
            return Leaf(given, parent)
        for number in many.numbers:
            self._runs[f"{many.key}/{number}"] = Run([number], 1)
        return Leaf(Value([functions.item_value(many.key, number) for number in many.numbers]), parent)

    def _tell(self, errbacks: tuple[Errback, ...]) -> None:
        self._errbacks.update(errback.key for errback in errbacks)

    # -- groups and what follows them

    def _group(self, group: Group, given: Given, parent: Node | None, told: bool) -> Several:
        members = [self.tree(member, given, None, told=told) for member in unrolled(group.members)]
        return Several(members, parent, given if isinstance(given, Error) else None)

    def _steps(self, steps: list[Tree], given: Given, parent: Node | None, told: bool) -> Node:
        """Run one step after the other; a chord is a group with its body as the next step."""
        opened = [part for step in steps for part in _opened(step)]
        steps = [step for step, _ in opened]
        at = parent
        for number, (step, min_successes) in enumerate(opened):
            is_header = isinstance(step, Group) and number + 1 < len(steps)
            # Of what does not run, that a header failed is told by the body.
            at = self.tree(step, given, at, told=told and not is_header)
            told = told and is_header
            if is_header:
                assert isinstance(at, Several)
                at.min_successes = min_successes
                given, told = _joined(at, told)
            else:
                given = _passed_on(at)
        assert at is not None
        return at


def _opened(step: Tree) -> list[tuple[Tree, int | None]]:
    """Return a chord as its header, with how many of it have to succeed, and the steps of its body."""
    if not isinstance(step, Chord):
        return [(step, None)]
    body = [part for inner in steps_of(step.body) for part in _opened(inner)]
    return [(step.header, step.min_successes), *body]


def _joined(header: Several, told: bool) -> tuple[Given, bool]:
    """Return what a header's body gets, and whether errbacks are told of it."""
    end = _parts_as_one(header)
    if header.foregone is not None:
        return header.foregone, told
    return (end, True) if isinstance(end, Error) else (_argument(end), False)


def _parts_as_one(header: Several) -> Outcome:
    if header.foregone is not None:
        return header.foregone
    parts = [member.outcome if isinstance(member, Leaf) else _parts_as_one(member) for member in header.members]
    failed = [part for part in parts if isinstance(part, Error)]
    values = [part.value if isinstance(part, Value) else None for part in parts if not isinstance(part, Error)]
    enough = header.min_successes
    if not failed or (enough is not None and len(values) >= enough):
        return Value(values)
    text = f"Dependency <id> raised {failed[0].exc!r}"
    text += f", and {len(failed) - 1} more failed" if failed[1:] else ""
    return Error(ChordError(text + (f"; {len(values)} succeeded, and {enough} had to" if enough is not None else "")))


def _as_one(node: Node) -> Outcome:
    return _parts_as_one(node) if isinstance(node, Several) else node.outcome


def _passed_on(node: Node) -> Given:
    end = own_end(node) if isinstance(node, Several) else node.outcome
    if isinstance(end, Nothing):
        return Error(IGNORED, revoked=True)
    return end if isinstance(end, Error) else _argument(end)


def _argument(end: Outcome) -> Given:
    assert isinstance(end, Value)
    return (end.value,)


def _end_of(call: Call, args: list[Any]) -> Outcome:
    match call.does:
        case Does.FAIL:
            return Error(functions.failure(call.key))
        case Does.FAIL_OWN:
            return Error(functions.OutOfStock(call.key, 0))
        case Does.IGNORE:
            return Nothing()
        case Does.REJECT:
            return Error(Reject(ANY_TEXT))
        case Does.EXPIRE:
            return Error(TaskRevokedError("expired"), revoked=True)
        case Does.UNKNOWN:
            return Error(NotRegistered(ANY_TEXT))
        case _:
            return Value(functions.value(call.does, call.key, args))
