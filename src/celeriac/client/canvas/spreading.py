"""To which of its tasks the options of a whole workflow go, as Celery has it.

| option                           | chain      | group          | chord                                   |
|----------------------------------|------------|----------------|-----------------------------------------|
| `task_id`                        | last step  | the group's id | body                                    |
| `link`, and a place in a group   | last step  | each member    | body                                    |
| `link_error`                     | each step  | each member    | body (and header, where a setting says) |
| `eta`, `countdown`               | first step | each member    | header                                  |
| all others                       | first step | each member    | header and body                         |

Options of the whole stand over those of its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from celeriac.client.canvas.nodes import (
    CallNode,
    ChainNode,
    ChordNode,
    GroupNode,
    Node,
    all_calls,
    end_of,
    ends_in_group,
    last_calls,
    listed,
)
from celeriac.client.canvas.normal import single
from celeriac.client.stamps import together
from celeriac.core.foregone import header_id

PLACE: Final = ("group_id", "group_index", "chord")
"""Options that say where a value belongs."""
TIMES: Final = frozenset({"eta", "countdown"})
_OF_THE_END: Final = frozenset({"task_id", "link", "link_error", *PLACE})


def spread(node: Node, options: Mapping[str, Any], *, errbacks_on_headers: bool = False) -> Node:
    """Give a workflow the options of a call of it; returns it, with one value if it is to be a member of a chord."""
    get = options.get
    if get("chord") and ends_in_group(node) and not _count(node, options["chord"]):
        node = single(node)
    end = end_of(node)
    if isinstance(end, GroupNode):
        end.id = get("task_id") or end.id
    else:
        if get("task_id"):
            end.options["task_id"] = options["task_id"]
        end.options.update({name: options[name] for name in PLACE if get(name) is not None})
    if links := listed(get("link")):
        _extend(last_calls(node), "link", links)
    if errbacks := listed(get("link_error")):
        _extend(all_calls(node, headers=errbacks_on_headers), "link_error", errbacks)
    starting = {name: value for name, value in options.items() if name not in _OF_THE_END}
    if starting:
        _start(node, starting)
    return node


def _count(node: Node, chord: Mapping[str, Any]) -> bool:
    """Tell whether each member of the group at the end is a part of the chord by itself, as Celery's senders have it.

    Some of them write the chord into the group alone, and into the members that they belong to it.
    """
    group_id = header_id(chord)
    calls = [call.options for call in last_calls(node)]
    if not calls or not all(own.get("chord") or (group_id and own.get("group_id") == group_id) for own in calls):
        return False
    for own in calls:
        own.setdefault("chord", chord)
    return True


def _start(node: Node, options: Mapping[str, Any]) -> None:
    match node:
        case CallNode(options=own):
            if options.get("headers") and own.get("headers"):
                options = {**options, "headers": {**own["headers"], **options["headers"]}}
            own.update(together(own, options))
        case ChainNode(steps=steps):
            _start(steps[0], options)
        case GroupNode(members=members):
            for member in members:
                _start(member, options)
        case ChordNode(header=header, body=body):
            _start(header, options)
            _start(body, {name: value for name, value in options.items() if name not in TIMES})


def _extend(calls: Iterable[CallNode], name: str, signatures: list[Mapping[str, Any]]) -> None:
    for call in calls:
        own = listed(call.options.get(name))
        call.options[name] = own + [signature for signature in signatures if signature not in own]
