"""Workflows as plain data: what the generator grows, the evaluator works out, and the builder makes signatures of."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct


class Does(StrEnum):
    """What a task does with what it is given."""

    LIST = "list"
    """Returns its key and its arguments."""
    DICT = "dict"
    NONE = "none"
    RETRY = "retry"
    """Asks for two retries, then does as `LIST`."""
    FAIL = "fail"
    """Raises a built-in error."""
    FAIL_OWN = "fail-own"
    """Raises an error of the program's own."""
    REPLACE = "replace"
    """Has another workflow take its place."""
    IGNORE = "ignore"
    REJECT = "reject"
    EXPIRE = "expire"
    """Never runs: it has expired when it is sent."""
    UNKNOWN = "unknown"
    """Never runs: no worker knows it."""


NEVER_BEGINS = frozenset({Does.EXPIRE, Does.UNKNOWN})
RETRIES = 2


class Errback(Struct, frozen=True):
    """What is called when a task has failed."""

    key: str
    in_place: bool
    """Called in the process of the failed task, with its request; else sent as a task, with its id."""


class Call(Struct, frozen=True):
    """One task."""

    key: str
    does: Does
    args: tuple[Any, ...] = ()
    immutable: bool = False
    in_thread: bool = False
    links: tuple[Tree, ...] = ()
    errbacks: tuple[Errback, ...] = ()
    by: Tree | None = None
    """What it is replaced by."""


class Many(Struct, frozen=True):
    """`map`, `starmap` or `chunks` of one task over some numbers."""

    key: str
    how: str
    numbers: tuple[int, ...]
    size: int = 0
    """Of chunks."""


class Chain(Struct, frozen=True):
    steps: tuple[Tree, ...]
    piped: bool = False
    """Made by `|`, not by `chain()`."""


class Group(Struct, frozen=True):
    members: tuple[Tree, ...]
    form: str = "list"
    """How the members are given: `list`, `arguments` or `generator`."""
    max_concurrency: int | None = None


class Chord(Struct, frozen=True):
    header: Group
    body: Tree
    form: str = "list"
    """How the header is given: `list`, `group` or `generator`."""
    min_successes: int | None = None


Tree = Call | Many | Chain | Group | Chord


class Canvas(Struct, frozen=True):
    """One workflow and what it is called with."""

    seed: int
    tree: Tree
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        called = f".delay({', '.join(map(repr, self.args))})" if self.args else ""
        return f"seed {self.seed}: {shown(self.tree)}{called}"


def shown(tree: Tree) -> str:
    """Return a tree as one would write it; `3!fail` is the task with key 3 that fails, `3i` an immutable one."""
    match tree:
        case Call():
            text = tree.key.rpartition(":")[2] + ("i" if tree.immutable else "")
            text += f"!{tree.does}" if tree.does is not Does.LIST else ""
            text += f"[{shown(tree.by)}]" if tree.by is not None else ""
            text += "(" + ", ".join(map(repr, tree.args)) + ")" if tree.args else ""
            text += "".join(f".link({shown(link)})" for link in tree.links)
            return text + "".join(f".on_error({errback.key.rpartition(':')[2]})" for errback in tree.errbacks)
        case Many():
            return f"{tree.how}({tree.key.rpartition(':')[2]}, {list(tree.numbers)}{f', {tree.size}' if tree.size else ''})"
        case Chain():
            steps = [shown(step) for step in tree.steps]
            return f"({' | '.join(steps)})" if tree.piped else f"chain({', '.join(steps)})"
        case Group():
            members = [shown(member) for member in tree.members]
            return f"group({', '.join(members + _option('max_concurrency', tree.max_concurrency))})"
        case Chord():
            parts = [f"[{', '.join(shown(member) for member in tree.header.members)}]", shown(tree.body)]
            return f"chord({', '.join(parts + _option('min_successes', tree.min_successes))})"


def _option(name: str, value: Any) -> list[str]:
    return [] if value is None else [f"{name}={value}"]


def unrolled(members: tuple[Tree, ...]) -> list[Tree]:
    """Return members with those of inner groups in place of the groups; chunks are a group, too."""
    flat: list[Tree] = []
    for member in members:
        match member:
            case Group():
                flat += unrolled(member.members)
            case Many(how="chunks"):
                flat += unrolled(chunked(member).members)
            case _:
                flat.append(member)
    return flat


def chunked(many: Many) -> Group:
    """Return chunks as the group of starmaps that they are."""
    numbers = many.numbers
    pieces = [numbers[start : start + many.size] for start in range(0, len(numbers), many.size)]
    return Group(tuple(Many(many.key, "starmap", piece) for piece in pieces))


def steps_of(tree: Tree) -> list[Tree]:
    """Return the steps of a chain with those of inner chains in place of the chains; of anything else, itself."""
    match tree:
        case Chain():
            return [step for inner in tree.steps for step in steps_of(inner)]
        case Many(how="chunks"):
            return [chunked(tree)]
        case _:
            return [tree]


def calls_in(tree: Tree) -> list[Call]:
    """Return every task of a tree, with those that are linked to others."""
    match tree:
        case Call():
            inner = [*tree.links, *([tree.by] if tree.by is not None else [])]
            return [tree, *(call for part in inner for call in calls_in(part))]
        case Many():
            return []
        case Chain():
            return [call for step in tree.steps for call in calls_in(step)]
        case Group():
            return [call for member in tree.members for call in calls_in(member)]
        case Chord():
            return [*calls_in(tree.header), *calls_in(tree.body)]
