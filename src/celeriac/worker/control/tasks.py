"""Inspect commands about tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from celeriac.core.headers import to_header
from celeriac.worker.control.panel import boolean, inspect_command
from celeriac.worker.control.records import message_record, request_record, running, waiting
from celeriac.worker.control.state import ControlState, parts_of

INFO_ITEMS: Final = ("exchange", "routing_key", "rate_limit")
BUILT_IN: Final = "celery."
SCHEDULED_MAX: Final = 100
TIMER_PRIORITY: Final = 6
"""That of Celery's timers, which has nothing to do with the task's."""


@inspect_command(alias="dump_active", in_loop=True, args=[("safe", boolean)], signature="[safe=False]")
def active(state: ControlState, safe: bool = False, **_more: Any) -> list[dict[str, Any]]:
    """List the tasks that run."""
    return [request_record(state, entry, pid, safe=safe) for entry, pid in running(state)]


@inspect_command(alias="dump_reserved", in_loop=True, args=[("safe", boolean)], signature="[safe=False]")
def reserved(state: ControlState, safe: bool = False, **_more: Any) -> list[dict[str, Any]]:
    """List the tasks that were claimed and have not begun."""
    return [request_record(state, entry, None, safe=safe) for entry in waiting(state)]


@inspect_command(alias="dump_schedule", in_loop=True, args=[])
async def scheduled(state: ControlState, **_more: Any) -> list[dict[str, Any]]:
    """List the next tasks that wait for their time in the broker, for the queues of this worker; RabbitMQ does not tell."""
    return [
        {
            "eta": to_header(message.not_before or 0.0),
            "priority": TIMER_PRIORITY,
            "request": message_record(state, message, redelivered=False),
        }
        for message in await parts_of(state).upcoming(SCHEDULED_MAX)
    ]


@inspect_command(variadic="ids", signature="[id1 [id2 [... [idN]]]]", in_loop=True, args=[])
def query_task(state: ControlState, ids: str | Sequence[str], **_more: Any) -> dict[str, Any]:
    """Tell the state of tasks by their ids."""
    wanted = {ids} if isinstance(ids, str) else set(ids)
    found: dict[str, Any] = {
        entry.message.id: ("reserved", request_record(state, entry, None))
        for entry in waiting(state)
        if entry.message.id in wanted
    }
    for entry, pid in running(state):
        if entry.message.id in wanted:
            found[entry.message.id] = ("active", request_record(state, entry, pid))
    return found


@inspect_command(alias="dump_revoked", in_loop=True, args=[])
def revoked(state: ControlState, **_more: Any) -> list[str]:
    """List the ids of revoked tasks that this worker knows."""
    return parts_of(state).revoker.ids()


@inspect_command(
    alias="dump_tasks", variadic="taskinfoitems", signature="[attr1 [attr2 [... [attrN]]]]", in_loop=True, args=[]
)
def registered(
    state: ControlState, taskinfoitems: Sequence[str] | None = None, builtins: bool = False, **_more: Any
) -> list[str]:
    """List the tasks that this worker knows, with some of their attributes."""
    items = [item for item in taskinfoitems or INFO_ITEMS if isinstance(item, str) and not item.startswith("_")]
    names = sorted(name for name in state.app.tasks if builtins or not name.startswith(BUILT_IN))
    return [_described(state, name, items) for name in names]


def _described(state: ControlState, name: str, items: Sequence[str]) -> str:
    task = state.app.tasks[name]
    told = {item: getattr(task, item, None) for item in items}
    rate = parts_of(state).rates.rate_of(name)
    if "rate_limit" in told and rate is not None:
        told["rate_limit"] = rate
    attributes = " ".join(f"{item}={value}" for item, value in told.items() if value is not None)
    return f"{name} [{attributes}]" if attributes else name
