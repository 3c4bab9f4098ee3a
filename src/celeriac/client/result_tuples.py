"""Celery's tuple form of results: `((id, parent), None)` for a task, `((id, parent), [members])` for a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.result_base import ResultBase


def as_tuple(result: ResultBase[Any]) -> tuple[Any, Any]:
    """Return the tuple form, the parents in it."""
    written: tuple[Any, Any] | None = None
    for node in reversed([result, *result.ancestors()]):  # from the oldest on: a long chain is deeper than calls may be
        # Who reads it could not know that a failed parent does not matter, and would take its failure for this one's.
        above = None if node.parent is not None and node.parent.may_fail else written
        written = ((node.id, above), node.member_tuples())
    assert written is not None
    return written


def from_tuple(app: Celeriac, written: Any) -> ResultBase[Any]:
    """Return the result that a tuple (or a list, as tuples become in JSON) stands for. Raises `ValueError` for what is none."""
    line: list[tuple[str, Any]] = []
    rest = written
    while rest is not None:
        task_id, above, members = taken_apart(rest)
        line.append((task_id, members))
        rest = above
    result: ResultBase[Any] | None = None
    for task_id, members in reversed(line):
        if members is None:
            result = app.AsyncResult(task_id, parent=result)
        else:
            result = app.GroupResult(task_id, [from_tuple(app, member) for member in members], parent=result)
    if result is None:
        raise ValueError("None is not the tuple of a result")
    return result


def taken_apart(written: Any) -> tuple[str, Any, Any]:
    """Return id, parent and members of a tuple. Raises `ValueError` for what is none."""
    if isinstance(written, list | tuple) and len(written) == 2:
        head, members = written
        task_id, above = head if isinstance(head, list | tuple) and len(head) == 2 else (head, None)
        if isinstance(task_id, str) and (members is None or isinstance(members, list | tuple)):
            return task_id, above, members
    raise ValueError(f"this is not the tuple of a result, ((id, parent), members or None): {written!r:.200}")
