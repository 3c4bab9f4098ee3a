"""From signatures, ours or Celery's, plain dicts or not, to nodes in normal form. Pure: what it is given stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from celeriac.client.canvas.chunking import CHUNKS, chunks_of, starmap_call
from celeriac.client.canvas.nodes import (
    ENOUGH,
    MIN_SUCCESSES,
    CallNode,
    ChordNode,
    GroupNode,
    Node,
    end_id,
    first_calls,
    listed,
)
from celeriac.client.canvas.normal import as_header, follow, give_arguments, join
from celeriac.client.canvas.spreading import PLACE, spread

Signature = Mapping[str, Any]

_UNKNOWN_YET: Final = frozenset({"root_id", "parent_id"})
"""Options that Celery writes down as None before they are known."""
_NOT_OF_CALLS: Final = frozenset({MIN_SUCCESSES, ENOUGH, "immutable"})


def read(signature: Signature, *, errbacks_on_headers: bool = False) -> Node | None:
    """Return the workflow that a signature stands for; None for an empty chain.

    `errbacks_on_headers`: an errback of a chord belongs to each task of its header, too.

    Raises `TypeError` that names what is no signature, `ValueError` for a chord that wants more successes than it has members.
    """
    return _Reader(errbacks_on_headers).part(signature, "a workflow's parts")


def with_options(node: Node, options: Mapping[str, Any], *, errbacks_on_headers: bool = False) -> Node:
    """Return a workflow that was given options of a call of it as a whole; `chain` is what follows it. Raises as `read`."""
    return _Reader(errbacks_on_headers).with_options(node, options)


class _Reader:
    def __init__(self, errbacks_on_headers: bool) -> None:
        self._errbacks_on_headers = errbacks_on_headers

    def part(self, signature: Any, what: str) -> Node | None:
        if not isinstance(signature, Mapping) or not isinstance(signature.get("task"), str):
            raise TypeError(f"{what} are signatures such as task.s(...), not {signature!r:.200}")
        match signature.get("subtask_type"):
            case "chain":
                return self._chain(signature)
            case "group":
                return self._group(signature)
            case "chord":
                return self._chord(signature)
        kwargs = signature.get("kwargs") or {}
        if signature["task"] == CHUNKS and kwargs.keys() >= {"task", "it", "n"}:
            return self._chunks(signature)
        return self._call(signature)

    def with_options(self, node: Node, options: Mapping[str, Any]) -> Node:
        given = {
            name: value
            for name, value in options.items()
            if name not in _NOT_OF_CALLS and not (value is None and name in _UNKNOWN_YET)
        }
        rest = given.pop("chain", None)
        node = spread(node, given, errbacks_on_headers=self._errbacks_on_headers)
        return self._with_rest(node, rest)

    def _with_rest(self, node: Node, rest: Any) -> Node:
        """Let a workflow be followed by what stands in a message as the rest of its chain: last step first."""
        if not rest:
            return node
        return follow(node, *(self.part(step, "a chain's steps") for step in reversed(listed(rest))))

    def _call(self, signature: Signature) -> Node:
        options = dict(signature.get("options") or {})
        for name in _NOT_OF_CALLS:
            options.pop(name, None)
        for name in _UNKNOWN_YET:
            if name in options and options[name] is None:
                del options[name]
        rest = options.pop("chain", None)
        call = CallNode(
            signature["task"],
            signature.get("args") or (),
            signature.get("kwargs") or {},
            options,
            bool(signature.get("immutable")),
            signature.get("subtask_type"),
        )
        return self._with_rest(call, rest)

    def _chain(self, signature: Signature) -> Node | None:
        kwargs = dict(signature.get("kwargs") or {})
        node = join([self.part(step, "a chain's steps") for step in listed(kwargs.pop("tasks", None))])
        return None if node is None else self._whole(node, signature, kwargs, signature.get("options") or {})

    def _group(self, signature: Signature) -> Node:
        kwargs = dict(signature.get("kwargs") or {})
        options = dict(signature.get("options") or {})
        limit = checked_max_concurrency(options.pop("max_concurrency", None))
        group = GroupNode(self._members(listed(kwargs.pop("tasks", None))), max_concurrency=limit)
        return self._whole(group, signature, kwargs, options)

    def _members(self, signatures: Iterable[Any]) -> list[Node]:
        members: list[Node] = []
        for signature in signatures:
            member = self.part(signature, "a group's members")
            if isinstance(member, GroupNode) and signature.get("subtask_type") == "group":
                if member.max_concurrency is not None:
                    raise ValueError(
                        "a group in a group gives way to its members, and so would its max_concurrency: put it into a chain,"
                        " chain(group(..., max_concurrency=n))"
                    )
                members += member.members  # a group in a group gives way to its members
            elif member is not None:
                members.append(member)
        return members

    def _chord(self, signature: Signature) -> Node:
        kwargs = dict(signature.get("kwargs") or {})
        options = dict(signature.get("options") or {})
        written_header, written_body = kwargs.pop("header", None), kwargs.pop("body", None)
        if written_body is None:
            raise TypeError(
                "this chord has no body to be called with the results: chord(header, body), or chord(header)(body)"
            )
        header = self._header(written_header)
        body = self.part(written_body, "a chord's bodies")
        if body is None:
            raise TypeError("the body of a chord can't be an empty chain")
        if end_id(body) is not None:  # it was frozen: then this is the id of the header
            header.id = header.id or options.pop("task_id", None)
            options.pop("task_id", None)
        wanted = options.get(ENOUGH, (written_body.get("options") or {}).get(MIN_SUCCESSES))
        chord = ChordNode(header, body, checked_min_successes(wanted, len(header.members)))
        partial = {**(kwargs.pop("kwargs", None) or {}), **kwargs}
        return self._whole(chord, signature, partial, options)

    def _header(self, header: Any) -> GroupNode:
        parts = listed(header)
        if len(parts) == 1:  # a group, as it is or in a list
            (header,) = parts
        if isinstance(header, Mapping) and header.get("subtask_type") == "group":
            # A frozen one says to which chord it belongs, which is this one.
            options = {n: v for n, v in (header.get("options") or {}).items() if n not in PLACE}
            group = self._group({**header, "options": options})
            assert isinstance(group, GroupNode)
        else:
            group = GroupNode(self._members(parts))
        return as_header(group)

    def _chunks(self, signature: Signature) -> Node:
        kwargs = signature["kwargs"]
        group = GroupNode([starmap_call(kwargs["task"], part) for part in chunks_of(kwargs["it"], kwargs["n"])])
        return self.with_options(group, signature.get("options") or {})

    def _whole(self, node: Node, signature: Signature, kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Node:
        """Hand down what a signature says besides its parts."""
        give_arguments(node, signature.get("args") or (), kwargs)
        if signature.get("immutable"):
            for call in first_calls(node):
                call.immutable = True
        return self.with_options(node, options) if options else node


def checked_max_concurrency(wanted: Any) -> int | None:
    """Return how many of a group's tasks may run at once, None for all. Raises `TypeError`, `ValueError`."""
    if wanted is None:
        return None
    if not isinstance(wanted, int) or isinstance(wanted, bool):
        raise TypeError(f"max_concurrency is a number of tasks, not {wanted!r}")
    if wanted < 1:
        raise ValueError(f"max_concurrency={wanted}, but with less than one nothing of the group would ever run")
    return wanted


def checked_min_successes(wanted: Any, size: int | None = None) -> int | None:
    """Return how many successes a chord is content with, None for all. Raises `TypeError`, `ValueError`."""
    if wanted is None:
        return None
    if not isinstance(wanted, int) or isinstance(wanted, bool):
        raise TypeError(f"min_successes is a number of members, not {wanted!r}")
    if wanted < 0 or (size is not None and wanted > size):
        of_how_many = f"the header has {size} members" if size is not None else "it can't be negative"
        raise ValueError(f"min_successes={wanted}, but {of_how_many}")
    return wanted
