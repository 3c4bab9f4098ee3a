"""The normal form of workflows, kept whenever nodes are put together. Pure.

- Chains in chains become one chain; what is empty among them falls away.
- A group that is followed by something becomes the header of a chord with that as its body.
- What follows a chord that ends in a group goes into its body, where it meets that group.
- A member of a header that ends in a group gets `celery.accumulate` behind it, so that it gives one value: the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from celeriac.client.canvas.nodes import (
    CallNode,
    ChainNode,
    ChordNode,
    GroupNode,
    Node,
    accumulating,
    ends_in_group,
    first_calls,
)


def join(nodes: Iterable[Node | None]) -> Node | None:
    """Return the nodes, one after the other, as one; None when there is none."""
    steps: list[Node] = []
    for node in nodes:
        if node is not None:
            steps += node.steps if isinstance(node, ChainNode) else [node]
    done: list[Node] = []
    for step in reversed(steps):
        done.append(_followed(step, done.pop()) if done and ends_in_group(step) else step)
    done.reverse()
    if len(done) > 1:
        return ChainNode(done)
    return done[0] if done else None


def follow(node: Node, *followers: Node | None) -> Node:
    """Return a node with what comes after it."""
    joined = join((node, *followers))
    assert joined is not None
    return joined


def single(node: Node) -> Node:
    """Return a workflow that gives one value: instead of several, their list."""
    return follow(node, accumulating()) if ends_in_group(node) else node


def as_header(group: GroupNode) -> GroupNode:
    """Return a group whose members can be counted: each gives one value."""
    return GroupNode([single(member) for member in group.members], group.id, group.max_concurrency)


def give_arguments(node: Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Put arguments before, and keyword arguments over, those of the calls with which a workflow begins."""
    if args or kwargs:
        for call in first_calls(node):
            _give(call, args, kwargs)


def _give(call: CallNode, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    if not call.immutable:
        call.args = [*args, *call.args]
        call.kwargs = {**call.kwargs, **kwargs}


def _followed(step: Node, follower: Node) -> Node:
    """Return a step that ends in a group together with what comes after it."""
    if isinstance(step, GroupNode):
        return ChordNode(as_header(step), follower)
    assert isinstance(step, ChordNode)
    return ChordNode(step.header, follow(step.body, follower), step.min_successes)
