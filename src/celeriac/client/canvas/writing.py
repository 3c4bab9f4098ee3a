"""From nodes to signatures in Celery's form, as plain dicts, for the rest of a workflow that travels in a message."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from celeriac.client.canvas.chunking import CHUNKS, MAP, STARMAP
from celeriac.client.canvas.nodes import (
    MIN_SUCCESSES,
    CallNode,
    ChainNode,
    ChordNode,
    GroupNode,
    Node,
    end_id,
    listed,
)
from celeriac.core.queues import Exchange, Queue

Signature = dict[str, Any]

_LINKS: Final = ("link", "link_error", "chain")
_OF_TASKS: Final = frozenset({MAP, STARMAP, CHUNKS})


def write(node: Node, ending: Mapping[str, Any] | None = None) -> Signature:
    """Return the signature of a frozen workflow; `ending`: options for the call that gives its value."""
    match node:
        case CallNode():
            return {
                "task": node.name,
                "args": list(node.args),
                "kwargs": _plain_kwargs(node.name, node.kwargs),
                "options": _plain_options({**node.options, **(ending or {})}),
                "subtask_type": node.kind,
                "immutable": node.immutable,
            }
        case ChainNode(steps=[*steps, last]):
            tasks = [*(write(step) for step in steps), write(last, ending)]
            return _canvas("chain", {"tasks": tasks}, end_id(node))
        case GroupNode(members=members):
            return _canvas("group", {"tasks": [_write_member(member) for member in members]}, node.id)
        case ChordNode(header=header):
            return _canvas(
                "chord", {"kwargs": {}, "header": write(header), "body": write_body(node, ending)}, header.id
            )
    raise AssertionError(f"a chain without steps: {node!r}")


def write_body(chord: ChordNode, ending: Mapping[str, Any] | None = None) -> Signature:
    """Return the signature of a chord's body, as the members of its header carry it."""
    body = write(chord.body, ending)
    if chord.min_successes is not None:
        body["options"][MIN_SUCCESSES] = chord.min_successes
    return body


def plain(signature: Mapping[str, Any]) -> Signature:
    """Return a signature, and all in it, as plain dicts; nothing else of it is changed."""
    written = dict(signature)
    kwargs = signature.get("kwargs") or {}
    match signature.get("subtask_type"):
        case "chain" | "group":
            written["kwargs"] = {**kwargs, "tasks": [plain(task) for task in listed(kwargs.get("tasks"))]}
        case "chord":
            header, body = kwargs.get("header"), kwargs.get("body")
            written["kwargs"] = {
                **kwargs,
                "header": plain(header) if isinstance(header, Mapping) else [plain(task) for task in listed(header)],
                "body": plain(body) if body is not None else None,
            }
        case _:
            written["kwargs"] = _plain_kwargs(written.get("task"), kwargs)
    written["options"] = _plain_options(signature.get("options") or {})
    return written


def _canvas(kind: str, kwargs: dict[str, Any], task_id: str | None) -> Signature:
    options = {"task_id": task_id} if task_id else {}
    return {
        "task": f"celery.{kind}",
        "args": [],
        "kwargs": kwargs,
        "options": options,
        "subtask_type": kind,
        "immutable": False,
    }


def _write_member(member: Node) -> Signature:
    if isinstance(member, GroupNode):  # which stands for one value: in a chain it is not taken for its members
        return _canvas("chain", {"tasks": [write(member)]}, member.id)
    return write(member)


def _plain_kwargs(name: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if name in _OF_TASKS and isinstance(kwargs.get("task"), Mapping):
        return {**kwargs, "task": plain(kwargs["task"])}
    return dict(kwargs)


def _plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as they can be written: those of a call that is made later, elsewhere."""
    written = dict(options)
    for name in _LINKS:
        if written.get(name):
            written[name] = [plain(signature) for signature in listed(written[name])]
    if isinstance(written.get("chord"), Mapping) and type(written["chord"]) is not dict:
        written["chord"] = plain(written["chord"])
    for name, value in written.items():
        if isinstance(value, timedelta):
            written[name] = value.total_seconds()
        elif isinstance(value, Queue | Exchange):
            written[name] = value.name
    written.pop("unique", None)  # what follows in a workflow is sent in any case
    return written
