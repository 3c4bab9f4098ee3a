"""The message of one tick, made the same by every scheduler that makes it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from celeriac.beat.entry import BeatLazyFunc
from celeriac.client import unique
from celeriac.client.batch_calls import Call
from celeriac.client.calls import build_message
from celeriac.core.headers import PERIODIC_TASK

if TYPE_CHECKING:
    from celeriac.beat.entry import ScheduleEntry
    from celeriac.client.app import Celeriac

_NAMESPACE: Final = uuid.UUID("5d0b6f0e-6a4c-5c7e-9a3c-3f5f0c1f8a61")


def id_of_tick(board: str, entry: str, tick: datetime) -> str:
    """Return the task id of a tick, which whoever sends it gives it."""
    return str(uuid.uuid5(_NAMESPACE, f"{board}\0{entry}\0{tick.isoformat()}"))


def call_of(app: Celeriac, entry: ScheduleEntry, task_id: str | None, gap_s: float | None) -> Call:
    """Return the call of an entry's task, its message ready to be sent.

    `gap_s`: seconds from this tick to the next.  Raises as `Task.apply_async` what is wrong with arguments and options.
    """
    args = [_worked_out(argument) for argument in entry.args]
    kwargs = {name: _worked_out(argument) for name, argument in entry.kwargs.items()}
    options = dict(entry.options)
    if task_id is not None:
        options["task_id"] = task_id
    options["headers"] = {PERIODIC_TASK: entry.name, **(options.get("headers") or {})}
    options.setdefault("reply_to", "")  # nobody waits here for what becomes of it
    if entry.expires is not UNSET:
        options["expires"] = entry.expires
    elif "expires" not in options and gap_s is not None and gap_s <= app.settings.beat_expires_below_s:
        options["expires"] = gap_s
    task = app.tasks.get(entry.task)
    defaults = task.defaults if task is not None else app.sender.defaults_of(entry.task)
    if task is not None:
        task.check_arguments(args, kwargs)
    message = build_message(app, entry.task, args, kwargs, options, defaults)
    take = None
    if "unique" in options or (task is not None and task.unique):
        take = unique.plan(app, task, message, args, kwargs, options)
    return Call(message, options, take=take)


def _worked_out(argument: Any) -> Any:
    return argument() if isinstance(argument, BeatLazyFunc) else argument
