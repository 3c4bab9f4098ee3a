"""Signatures as plain dicts of Celery's layout, and short texts of what is made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celeriac.client.canvas.freeze import ResultNode
from celeriac.client.canvas.nodes import CallNode, ChainNode, ChordNode, GroupNode, Node
from celeriac.client.canvas.plan import Plan, plan

Signature = dict[str, Any]


def call(name: str, *args: Any, immutable: Any = False, **options: Any) -> Signature:
    return {
        "task": name,
        "args": list(args),
        "kwargs": {},
        "options": options,
        "subtask_type": None,
        "immutable": immutable,
    }


def chain(*tasks: Any, **options: Any) -> Signature:
    return _canvas("chain", {"tasks": list(tasks)}, options)


def group(*tasks: Any, **options: Any) -> Signature:
    return _canvas("group", {"tasks": list(tasks)}, options)


def chord(header: Any, body: Signature | None, **options: Any) -> Signature:
    return _canvas("chord", {"kwargs": {}, "header": header, "body": body}, options)


def _canvas(kind: str, kwargs: dict[str, Any], options: dict[str, Any]) -> Signature:
    return {
        "task": f"celery.{kind}",
        "args": [],
        "kwargs": kwargs,
        "options": options,
        "subtask_type": kind,
        "immutable": False,
    }


A, B, C, D, E, F, G = (call(name) for name in "abcdefg")


def numbers() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"#{number}"


def planned(signature: Signature, args: Any = (), kwargs: Any = None, **options: Any) -> Plan:
    """Return a plan whose ids are numbered in the order in which they were asked for."""
    ids = numbers()
    return plan(signature, args, kwargs or {}, options, lambda: next(ids))


def shown(node: Node | None) -> str:
    """Return a node as text: `a|b`, `[a,b]`, `[a,b]>c`; `+` is the task that gathers."""
    match node:
        case None:
            return ""
        case CallNode():
            return "+" if node.name == "celery.accumulate" else node.name
        case ChainNode(steps=steps):
            return f"({'|'.join(shown(step) for step in steps)})"
        case GroupNode(members=members):
            return f"[{','.join(shown(member) for member in members)}]"
        case ChordNode(header=header, body=body):
            return f"{shown(header)}>{shown(body)}"


def tree(result: ResultNode | None) -> str:
    """Return a result as text: `c<[a,b]` is c, whose parent is the group of a and b."""
    if result is None:
        return ""
    own = result.name if result.members is None else f"[{','.join(tree(member) for member in result.members)}]"
    return f"{own}<{tree(result.parent)}" if result.parent is not None else own


def tasks_in(signature: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the calls of single tasks in a signature of Celery's layout, those in its options left out."""
    kwargs = signature["kwargs"]
    match signature["subtask_type"]:
        case "chain" | "group":
            parts = kwargs["tasks"]
        case "chord":
            parts = [kwargs["header"], kwargs["body"]]
        case _:
            yield signature
            return
    for part in parts:
        yield from tasks_in(part)
