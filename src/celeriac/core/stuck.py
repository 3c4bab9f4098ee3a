"""When a workflow counts as stuck, and how that is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from celeriac.core.workflow import ChordState

SENT_WITHIN_S: Final = 60.0
"""The body of a chord is sent the moment its last part comes in; so long after, something has gone wrong."""
SHOWN_STEPS: Final = 3
"""Of a chain, where its steps are named."""


def is_complete(state: ChordState) -> bool:
    """Tell whether all parts are in, so that only the body is missing."""
    return state.size is not None and state.ended >= state.size


def is_stuck(state: ChordState, now: float, stuck_after_s: float) -> bool:
    """Tell whether a chord has seen no progress for too long; `now` in Unix seconds."""
    return now - state.updated_at > (min(SENT_WITHIN_S, stuck_after_s) if is_complete(state) else stuck_after_s)


def progress(state: ChordState) -> str:
    """Write how many of how many parts are in: `37/50`, or `37/?` where nobody has said how many there will be."""
    return f"{state.ended}/{'?' if state.size is None else state.size}"


def what_is_missing(state: ChordState) -> str:
    """Say what a chord waits for."""
    if is_complete(state):
        return f"all {state.ended} parts are in, and its body was not sent"
    if state.size is None:
        return f"{state.ended} parts are in, and how many there will be was never said (or is forgotten)"
    return f"{state.ended} of {state.size} parts are in"


def name_of(signature: Mapping[str, Any]) -> str:
    """Write for people what a signature runs: the name of its task, or of the first ones of a chain."""
    kind = signature.get("subtask_type")
    inner = _inner(signature)
    if kind == "chain" and inner:
        return " | ".join([*map(name_of, inner[:SHOWN_STEPS]), *(["..."] if len(inner) > SHOWN_STEPS else [])])
    if kind == "group":
        return f"group of {len(inner)}"
    return str(signature.get("task"))


def result_id_of(signature: Mapping[str, Any]) -> str | None:
    """Return the id of the task that gives a frozen signature's result; None where several do, or nobody asked for it."""
    if signature.get("subtask_type") == "chain" and (steps := _inner(signature)):
        return result_id_of(steps[-1])
    task_id = (signature.get("options") or {}).get("task_id")
    return task_id if isinstance(task_id, str) else None


def _inner(signature: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tasks = (signature.get("kwargs") or {}).get("tasks")
    return [task for task in tasks if isinstance(task, Mapping)] if isinstance(tasks, list | tuple) else []
