"""Tasks as inspect commands show them: Celery's request records, out of headers alone."""

from __future__ import annotations

import ast
from typing import Any, Final

from celeriac.core.message import Message
from celeriac.worker.control.state import ControlState, parts_of
from celeriac.worker.entry import Entry

READ_MAX_CHARS: Final = 4096
"""A longer text of arguments is shown as the text that it is."""


def request_record(state: ControlState, entry: Entry, pid: int | None, *, safe: bool = False) -> dict[str, Any]:
    """Return the record of a task; `pid` is that of the process that runs it, None while none does."""
    record = message_record(
        state, entry.message, redelivered=bool(entry.older_tags or entry.delivery.losses), safe=safe
    )
    if pid is not None:
        clock = state.app.time_source
        record["time_start"] = clock.time() - (clock.monotonic() - entry.started_at)
    record["acknowledged"], record["worker_pid"] = entry.acknowledged, pid
    return record


def message_record(state: ControlState, message: Message, *, redelivered: bool, safe: bool = False) -> dict[str, Any]:
    """Return the record of a task that has not begun."""
    return {
        "id": message.headers.get("id"),
        "name": message.headers.get("task"),
        "args": shown_arguments(message, "argsrepr", (tuple, list), safe=safe),
        "kwargs": shown_arguments(message, "kwargsrepr", (dict,), safe=safe),
        "type": message.headers.get("task"),
        "hostname": state.hostname,
        "time_start": None,
        "acknowledged": False,
        "delivery_info": delivery_info(message, redelivered=redelivered),
        "worker_pid": None,
    }


def delivery_info(message: Message, *, redelivered: bool) -> dict[str, Any]:
    """Return how a message came here."""
    return {
        "exchange": message.exchange,
        "routing_key": message.routing_key or message.queue,
        "priority": message.priority,
        "redelivered": redelivered,
    }


def shown_arguments(message: Message, header: str, kinds: tuple[type, ...], *, safe: bool) -> Any:
    """Return arguments as their sender shows them: as plain data where that can be read as such, else (or if `safe`) the text.

    The core opens no body, so what the sender has shortened or hid is shortened or hidden here, too.
    """
    text = message.headers.get(header)
    if safe or not isinstance(text, str) or len(text) > READ_MAX_CHARS:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
    return plain(value) if isinstance(value, kinds) else text


def running(state: ControlState) -> list[tuple[Entry, int]]:
    """Return what runs, with the ids of the processes."""
    return [
        (entry, handle.pid)
        for handle in parts_of(state).pool.handles
        for entry in handle.running.values()
        if not entry.concluding
    ]


def waiting(state: ControlState) -> list[Entry]:
    """Return what this worker has claimed and not begun."""
    begun = {id(entry) for handle in parts_of(state).pool.handles for entry in handle.running.values()}
    return [entry for entry in parts_of(state).entries.values() if id(entry) not in begun and entry.ending is None]


def plain(value: Any) -> Any:
    """Return a value as JSON can have it: what is no plain data as its `repr`."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | None) else repr(value)
