"""Control commands that end tasks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from celeriac.client.stop_signals import signal_name
from celeriac.core.revoking import ids_of, stamp_id
from celeriac.worker.control.panel import boolean, control_command
from celeriac.worker.control.records import running
from celeriac.worker.control.state import ControlState, is_for_all, parts_of

logger = logging.getLogger("celeriac.worker")

AT_ONCE_MAX: Final = 10_000
ID_MAX_CHARS: Final = 1024


@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]", in_loop=True, args=[])
def revoke(
    state: ControlState,
    task_id: str | Sequence[str],
    terminate: bool = False,
    signal: str | int | None = None,
    **_more: Any,
) -> dict[str, str]:
    """Have tasks not run; with terminate, also end those that do."""
    return _revoke(state, task_id, terminate, signal)


@control_command(variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]", in_loop=True)
def terminate(
    state: ControlState, signal: str | int | None, task_id: str | Sequence[str], **_more: Any
) -> dict[str, str]:
    """End tasks that run, and have those not run that wait."""
    return _revoke(state, task_id, True, signal)


@control_command(variadic="headers", signature="[key1=value1 [key2=value2 [... [keyN=valueN]]]]", in_loop=True, args=[])
def revoke_by_stamped_headers(
    state: ControlState,
    headers: Mapping[str, Any] | Sequence[str],
    terminate: bool = False,
    signal: str | int | None = None,
    **_more: Any,
) -> dict[str, str]:
    """Have tasks with one of these stamps not run; with terminate, also end those that do."""
    if not isinstance(headers, Mapping):
        headers = dict(_pair(text) for text in headers)
    stamps = {
        stamp_id(name, value): (name, value)
        for name, values in headers.items()
        for value in (values if isinstance(values, list | tuple) else (values,))
    }
    meant = _ending(state, stamps, terminate, signal)
    if not boolean(terminate or False):
        return {"ok": f"headers {headers} flagged as revoked, but not terminated"}
    ended: dict[str, set[Any]] = {}
    for ids in meant.values():
        for one in ids & stamps.keys():
            name, value = stamps[one]
            ended.setdefault(name, set()).add(value)
    return {"ok": f"headers {ended} revoked" if ended else f"headers {headers} were not terminated"}


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r:.80} is no name=value")
    return name, value


def _revoke(
    state: ControlState,
    task_id: str | Sequence[str],
    terminate: bool | str,
    signal: str | int | None,
) -> dict[str, str]:
    ids = {task_id} if isinstance(task_id, str) else set(task_id or ())
    if not all(isinstance(one, str) and 0 < len(one) <= ID_MAX_CHARS for one in ids):
        raise ValueError(f"ids of tasks are texts of up to {ID_MAX_CHARS} characters")
    known = [entry.message.id for entry in parts_of(state).entries.values() if entry.message.id in ids]
    _ending(state, ids, terminate, signal)
    if boolean(terminate or False):
        return {"ok": f"terminate: {', '.join(known)}" if known else "terminate: tasks unknown"}
    logger.info("Tasks flagged as revoked: %s", ", ".join(sorted(ids)))
    return {"ok": f"tasks {ids} flagged as revoked"}


def _ending(
    state: ControlState,
    ids: Collection[str],
    terminate: bool | str,
    signal: str | int | None,
) -> dict[str, set[str]]:
    """Carry it out; return the tasks that ran here: id -> what it may have been revoked by."""
    if len(ids) > AT_ONCE_MAX:
        raise ValueError(f"{len(ids)} at once are too many to be revoked: at most {AT_ONCE_MAX}")
    ran = {entry.message.id: set(ids_of(entry.message.headers)) for entry, _ in running(state)}
    # What some workers are to revoke is nothing for those that start later.
    parts_of(state).revoker.asked(ids, boolean(terminate or False), signal_name(signal), keep=is_for_all(state))
    return ran
