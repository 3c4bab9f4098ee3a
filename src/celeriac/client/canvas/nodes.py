"""A workflow taken apart: nodes that can be joined, given ids and written down again. They are never part of a caller's signature.

In normal form
- a chain has at least two steps, none of them a chain; only its last step is or ends in a group;
- a group has no group among its members, unless that stands for one value of its own;
- each member of a chord's header gives one value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct, field

from celeriac.core.decide import MIN_SUCCESSES as MIN_SUCCESSES
from celeriac.core.foregone import ACCUMULATE as ACCUMULATE

ENOUGH: Final = "min_successes"
"""`MIN_SUCCESSES` as an option of the chord, as long as nothing has been sent of it; its own body may be such a chord, too."""


class CallNode(Struct):
    """A call of one task."""

    name: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    immutable: bool = False
    kind: str | None = None
    """The `subtask_type` of a signature that is none of Celery's."""
    gathers: bool = False
    """It was added to make one value of a group's, and nobody is to see more of it than that."""


class ChainNode(Struct):
    """Steps, one after the other."""

    steps: list[Node]


class GroupNode(Struct):
    """Members, side by side."""

    members: list[Node]
    id: str | None = None
    max_concurrency: int | None = None
    """How many of its tasks may run at once."""


class ChordNode(Struct):
    """A group, and what is called with the list of its values."""

    header: GroupNode
    body: Node
    min_successes: int | None = None


Node: TypeAlias = CallNode | ChainNode | GroupNode | ChordNode


def ends_in_group(node: Node) -> bool:
    """Tell whether a workflow gives several values."""
    while not isinstance(node, CallNode):
        if isinstance(node, GroupNode):
            return True
        node = node.steps[-1] if isinstance(node, ChainNode) else node.body
    return False


def end_of(node: Node) -> CallNode | GroupNode:
    """Return what gives a workflow's value."""
    while not isinstance(node, CallNode | GroupNode):
        node = node.steps[-1] if isinstance(node, ChainNode) else node.body
    return node


def end_id(node: Node) -> str | None:
    """Return the id under which a workflow's value is found; None when it has none yet."""
    end = end_of(node)
    return end.options.get("task_id") if isinstance(end, CallNode) else end.id


def last_calls(node: Node) -> Iterator[CallNode]:
    """Yield the calls after which a workflow is over."""
    end = end_of(node)
    if isinstance(end, CallNode):
        yield end
    else:
        for member in end.members:
            yield from last_calls(member)


def first_calls(node: Node) -> Iterator[CallNode]:
    """Yield the calls with which a workflow begins; a chord without a header begins with nothing, for arguments of others."""
    while isinstance(node, ChainNode | ChordNode):
        node = node.steps[0] if isinstance(node, ChainNode) else node.header
    if isinstance(node, CallNode):
        yield node
    else:
        for member in node.members:
            yield from first_calls(member)


def all_calls(node: Node, *, headers: bool = True) -> Iterator[CallNode]:
    """Yield all calls of a workflow, without those in headers of chords if so wanted."""
    match node:
        case CallNode():
            yield node
        case ChainNode(steps=parts) | GroupNode(members=parts):
            for part in parts:
                yield from all_calls(part, headers=headers)
        case ChordNode():
            if headers:
                yield from all_calls(node.header)
            yield from all_calls(node.body, headers=headers)


def has_chord(node: Node) -> bool:
    """Tell whether anything in a workflow has to be counted."""
    match node:
        case CallNode():
            return False
        case ChainNode(steps=parts) | GroupNode(members=parts):
            return any(has_chord(part) for part in parts)
        case ChordNode():
            return bool(node.header.members) or has_chord(node.body)


def accumulating() -> CallNode:
    """Return the call that makes one value of the many before it."""
    return CallNode(ACCUMULATE, kwargs={"index": 0}, gathers=True)


def listed(signatures: Any) -> list[Any]:
    """Return what stands where one signature, several or none may stand; generators are used up."""
    if signatures is None:
        return []
    return [signatures] if isinstance(signatures, Mapping) else list(signatures)
