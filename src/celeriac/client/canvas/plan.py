"""From a signature to the first calls of its workflow: what is sent now, what is counted, and where the results will be. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from celeriac.client.canvas.freeze import NewId, ResultNode, child_of, freeze, result_of
from celeriac.client.canvas.nodes import CallNode, ChainNode, ChordNode, GroupNode, Node, all_calls, end_of, has_chord
from celeriac.client.canvas.normal import follow, give_arguments
from celeriac.client.canvas.reading import read, with_options
from celeriac.client.canvas.writing import write, write_body

_OF_THE_MOMENT: Final = ("root_id", "parent_id")
"""Options of what is sent now, which what comes later learns from whoever sends it."""
_OF_ALL: Final = "reply_to"
"""Whoever sends a step has its result sent to where the first call came from."""


class PlannedCall(Struct):
    """A call to be sent, with everything that hangs on it in its options."""

    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: dict[str, Any]


class PlannedChord(Struct):
    """A chord whose header is among the calls: it has to be opened before."""

    group_id: str
    size: int
    """Parts that its members will be."""
    body: dict[str, Any]
    """Its signature, as the members carry it."""


class Plan(Struct):
    """How a workflow begins."""

    result: ResultNode
    """What it gives in the end."""
    child: ResultNode
    """What comes first of it: in a chain the first step, of a chord the header. Whoever sends it has it as a child, as Celery has it."""
    calls: list[PlannedCall] = field(default_factory=list)
    chords: list[PlannedChord] = field(default_factory=list)
    needs_counting: bool = False
    """There is a chord in it, now or later."""
    tasks: list[CallNode] = field(default_factory=list)
    """All calls, also those that come later."""


def plan(
    signature: Mapping[str, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    new_id: NewId,
    *,
    errbacks_on_headers: bool = False,
) -> Plan:
    """Return how the workflow of a signature begins when it is called with these arguments and options.

    Args:
        signature: ours, or a plain dict as it comes in a message, also from Celery, where it has ids, which are kept.
        args, kwargs: put before, and over, those of the tasks with which it begins.
        options: as of `apply_async`; also `chain`, what follows it, last step first, and `chord` with `group_id` and `group_index`, where
            its value is to go.
        new_id: makes an id; called in an order that is the same for the same workflow.
        errbacks_on_headers: an errback of a chord belongs to each task of its header, too.

    Raises `TypeError` for what is no signature and for a chord without a body, `ValueError` for one that wants more successes than it has
    members, and for a workflow that is nested beyond what could be written.
    """
    try:
        node = read(signature, errbacks_on_headers=errbacks_on_headers) or GroupNode([])
        give_arguments(node, args, kwargs)
        lasting = dict(options)
        moment = {name: value for name in _OF_THE_MOMENT if (value := lasting.pop(name, None))}
        reply_to = lasting.pop(_OF_ALL, None)
        node = with_options(node, lasting, errbacks_on_headers=errbacks_on_headers)
        if reply_to:
            for call in all_calls(node):
                call.options.setdefault(_OF_ALL, reply_to)
        freeze(node, new_id)
        return _begun(node, moment)
    except RecursionError:
        raise ValueError(
            "the workflow is nested too deeply to be written: put what repeats into a task that starts the next part"
        ) from None


def _begun(node: Node, moment: Mapping[str, Any]) -> Plan:
    planned = Plan(result_of(node), child_of(node), needs_counting=has_chord(node), tasks=list(all_calls(node)))
    _first(node, planned, {})
    for sent in planned.calls:
        sent.options |= moment
    return planned


def _first(node: Node, planned: Plan, ending: Mapping[str, Any]) -> None:
    """Add the calls with which a node begins; `ending`: options for the call that gives its value."""
    match node:
        case CallNode():
            _add(planned, node, ending)
        case ChainNode(steps=[CallNode() as first, *rest]):
            following = [write(step) for step in rest[:-1]]
            following.append(write(rest[-1], ending))
            _add(planned, first, {"chain": following[::-1]})
        case ChainNode(steps=[ChordNode() as first, *rest]):
            _first(ChordNode(first.header, follow(first.body, *rest), first.min_successes), planned, ending)
        case GroupNode(members=members):
            for member in members:
                end = end_of(member)
                inside = isinstance(end, CallNode) and not end.options.get("chord")
                _first(member, planned, {"group_id": node.id} if inside else {})
        case ChordNode(header=GroupNode(members=[]) as header):
            give_arguments(node.body, ([],), {})
            _first(node.body, planned, _of_body(node.body, header, ending))
        case ChordNode():
            _open(node, planned, ending)


def _of_body(body: Node, header: GroupNode, ending: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options for the end of a chord's body: in Celery it belongs to the header's group, unless to another."""
    end = end_of(body)
    if isinstance(end, CallNode) and not end.options.get("group_id"):
        return {"group_id": header.id, **ending}
    return ending


def _open(chord: ChordNode, planned: Plan, ending: Mapping[str, Any]) -> None:
    header = chord.header
    assert header.id is not None
    body = write_body(chord, _of_body(chord.body, header, ending))
    planned.chords.append(PlannedChord(header.id, len(header.members), body))
    for member in header.members:
        _first(member, planned, {"chord": body, "group_id": header.id})


def _add(planned: Plan, call: CallNode, more: Mapping[str, Any]) -> None:
    planned.calls.append(PlannedCall(call.name, call.args, call.kwargs, {**call.options, **more}))
