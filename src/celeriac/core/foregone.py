"""What will never run because a task before it did not succeed: every id in it gets an end, and outer chords get their parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct, field

from celeriac.core.effects import Invoke, Join, Keep

Signature = Mapping[str, Any]

ACCUMULATE: Final = "celery.accumulate"
"""The task that gives back what it gets: put behind a group that has to give one value."""


class Foregone(Struct):
    """The ends of what a signature would have run."""

    keeps: list[Keep] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    errbacks: list[Invoke] = field(default_factory=list)


def forgo(
    signatures: Iterable[Signature], state: str, exc: BaseException, *, errbacks: bool, traceback: str | None = None
) -> Foregone:
    """Return what follows when `signatures` are not to run: their tasks end in `state` with `exc`.

    `errbacks`: those of the tasks that would have run first are called, as if they had failed themselves.  Ids are those that the
    signatures were sent with; what has none nobody waits for.
    """
    foregone = Foregone()
    for signature in signatures:
        for end in _tasks_of(signature):
            options = end.signature.get("options") or {}
            task_id = options.get("task_id")
            if not task_id:
                continue
            if not options.get("ignore_result"):
                foregone.keeps.append(Keep(state, exc, traceback, task_id))
            chord = options.get("chord") or end.chord
            if not end.in_header and chord and options.get("group_id"):
                place = options["group_id"], task_id, options.get("group_index")
                foregone.joins.append(Join(*place, state, exc, dict(chord)))
            if errbacks and end.comes_first:
                foregone.errbacks += [
                    Invoke(
                        dict(errback),
                        (task_id,),
                        task_id,
                        task_id,
                        error=exc,
                        traceback=traceback,
                        failed=end.signature,
                    )
                    for errback in _listed(options.get("link_error"))
                ]
    return foregone


class _Task(Struct):
    signature: dict[str, Any]
    comes_first: bool
    """It would have been among the first to run."""
    in_header: bool
    """It belongs to a header of a chord that will never be opened, so its part is of no use to anybody."""
    chord: Signature | None = None
    """The body of the one that it, or what it ends in, may be a part of: Celery writes that into a group, and into members whose group."""


def _tasks_of(signature: Signature) -> Iterator[_Task]:
    """Yield every task of a signature, in their order.  Not recursive: a long chain of groups is a deep nest of chords."""
    waiting = [_Task(dict(signature), True, False)]
    while waiting:
        task = waiting.pop()
        kwargs = task.signature.get("kwargs") or {}
        options = task.signature.get("options") or {}
        chord = options.get("chord") or task.chord
        inner: list[_Task] = []
        match task.signature.get("subtask_type"):
            case "chain":
                steps = _listed(kwargs.get("tasks"))
                inner = [_Task(dict(step), task.comes_first and not i, task.in_header) for i, step in enumerate(steps)]
                if inner:
                    inner[-1].chord = chord
            case "group":
                members = _listed(kwargs.get("tasks"))
                inner = [_Task(dict(member), task.comes_first, task.in_header, chord) for member in members]
            case "chord":
                # That a header will not run is told by the errbacks of the body, unless that only makes one value of a group's many.
                bodies = _listed(kwargs.get("body"))
                told = task.comes_first and all(body.get("task") == ACCUMULATE for body in bodies)
                inner = [_Task(dict(member), told, True) for member in _listed(kwargs.get("header"))]
                inner += [_Task(dict(body), task.comes_first, task.in_header, chord) for body in bodies]
            case _:
                if task.chord is not None and options.get("group_id") != header_id(task.chord):
                    task.chord = None
                yield task
        # Some write what follows into the options: last step first.
        inner += [_Task(dict(step), False, task.in_header) for step in reversed(_listed(options.get("chain")))]
        waiting += reversed(inner)


def header_id(body: Signature) -> str | None:
    """Return the group id of the header that a chord's body, in a message, stands for: its last task tells."""
    while True:
        group_id: str | None = (body.get("options") or {}).get("group_id")
        kwargs = body.get("kwargs") or {}
        match body.get("subtask_type"):
            case "chord":
                last = _listed(kwargs.get("body"))
            case "chain":
                last = _listed(kwargs.get("tasks"))
            case _:
                return group_id
        if group_id or not last:
            return group_id
        body = last[-1]


def _listed(signatures: Any) -> list[Signature]:
    """Return what stands where one signature or several may stand."""
    if not signatures:
        return []
    return [signatures] if isinstance(signatures, Mapping) else [one for one in signatures if isinstance(one, Mapping)]
