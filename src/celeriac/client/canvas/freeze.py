"""Ids for everything in a workflow, and the results that will be found under them. What has an id already keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from celeriac.client.canvas.nodes import CallNode, ChainNode, ChordNode, GroupNode, Node, all_calls, end_of, last_calls
from celeriac.core.headers import GROUP_LIMIT

NewId = Callable[[], str]

TUPLE_LEVELS: Final = 40
"""How deep a result tuple goes: it is stored in the record of the task that sent the workflow, and documents have a limit."""


class ResultNode(Struct):
    """The result of a task, or of a group."""

    id: str
    members: list[ResultNode] | None = None
    """None: it is a task's."""
    parent: ResultNode | None = None
    """What its value is made from."""
    name: str = ""
    """The task's name."""
    ignored: bool | None = None
    """What the call says of keeping its result; None: nothing."""
    min_successes: int | None = None
    """Of a header whose chord does not want all to succeed."""

    def as_tuple(self, levels: int = TUPLE_LEVELS) -> list[Any]:
        """Return Celery's tuple form, as far as `levels` reach; the oldest parents are left out."""
        parent = self.parent
        above = None
        if parent is not None and parent.min_successes is None and levels > 2:
            above = parent.as_tuple(levels - 2)
        if self.members is None:
            return [[self.id, above], None]
        return [[self.id, above], [member.as_tuple(levels - 2) for member in self.members]]


def freeze(node: Node, new_id: NewId) -> None:
    """Give ids to what has none, in a fixed order, and to each member of a group its place there.

    Members learn the id of their group when they are sent: a worker of Celery's would let those that know of one already belong to that,
    and count them under another.
    """
    match node:
        case CallNode(options=options):
            if not options.get("task_id"):
                options["task_id"] = new_id()
        case ChainNode(steps=steps):
            for step in steps:
                freeze(step, new_id)
        case GroupNode():
            _freeze_group(node, new_id)
            for index, member in enumerate(node.members):
                end = end_of(member)
                # One that is a part of a chord by itself has its place there.
                if isinstance(end, CallNode) and not end.options.get("chord"):
                    end.options.pop("group_id", None)
                    end.options["group_index"] = index
        case ChordNode(header=header, body=body):
            _freeze_group(header, new_id)
            for index, member in enumerate(header.members):
                for call in last_calls(member):
                    call.options.pop("chord", None)
                    call.options.pop("group_id", None)
                    call.options["group_index"] = index
            freeze(body, new_id)


def result_of(node: Node, parent: ResultNode | None = None) -> ResultNode:
    """Return the result of a workflow that has been frozen."""
    match node:
        case CallNode(name=name, options=options):
            return ResultNode(options["task_id"], None, parent, name, options.get("ignore_result"))
        case ChainNode(steps=steps):
            for step in steps:
                parent = result_of(step, parent)
            assert parent is not None
            return parent
        case GroupNode():
            return _group_result(node, parent)
        case ChordNode(header=header, body=body):
            above = _group_result(header, parent)
            above.min_successes = node.min_successes
            return result_of(body, above)


def child_of(node: Node) -> ResultNode:
    """Return the result of what comes first in a workflow that has been frozen."""
    while not isinstance(node, CallNode | GroupNode):
        if isinstance(node, ChainNode):
            node = node.steps[0]
        else:
            node = node.header if node.header.members else node.body
    return result_of(node)


def _freeze_group(group: GroupNode, new_id: NewId) -> None:
    if not group.id:
        group.id = new_id()
    if group.max_concurrency is not None:
        for call in all_calls(group):
            call.options["headers"] = {
                **(call.options.get("headers") or {}),
                GROUP_LIMIT: [group.id, group.max_concurrency],
            }
    for member in group.members:
        freeze(member, new_id)


def _group_result(group: GroupNode, parent: ResultNode | None) -> ResultNode:
    assert group.id is not None
    return ResultNode(group.id, [_member_result(member) for member in group.members], parent)


def _member_result(member: Node) -> ResultNode:
    """Return the result of a member: that of the group in which it ends, rather than of the call that gathers that one's values."""
    result = result_of(member)
    end = end_of(member)
    if isinstance(end, CallNode) and end.gathers:
        assert result.parent is not None
        return result.parent
    return result
