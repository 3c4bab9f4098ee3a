"""Taking revoked messages out of the delay. Each function is a part of the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from celeriac.brokers.embedded import stored
from celeriac.core.message import Message
from celeriac.core.revoking import Sought
from celeriac.exceptions import BadMessage
from celeriac.transports.sqlite.schema import DELAYED, READY

LOOKED_AT_ONCE: Final = 1000
_TEXTS_MAX: Final = 20
"""With more ids than this, every message is read instead of searched."""


def find_delayed(connection: sqlite3.Connection, sought: Sought, after: int) -> tuple[int, list[tuple[int, Message]]]:
    """Look at the delayed messages with a higher row id, so many at a time.

    Returns the last row looked at, 0 at the end, and the rows that are sought.
    """
    last = connection.execute(
        f"SELECT max(id) FROM (SELECT id FROM messages WHERE state = {DELAYED} AND id > ? ORDER BY id LIMIT {LOOKED_AT_ONCE})",
        (after,),
    ).fetchone()[0]
    if last is None:
        return 0, []
    texts = [*sought.task_ids, *sought.stamp_names]
    searched = f" AND ({' OR '.join(['instr(payload, ?) > 0'] * len(texts))})" if len(texts) <= _TEXTS_MAX else ""
    values = [text.encode() for text in texts] if searched else []
    rows = connection.execute(
        f"SELECT id, payload FROM messages WHERE state = {DELAYED} AND id > ? AND id <= ?{searched} ORDER BY id",
        (after, last, *values),
    )
    return last, [(row, message) for row, payload in rows if (message := read_sought(payload, sought)) is not None]


def read_sought(payload: bytes, sought: Sought) -> Message | None:
    """Return the message if it is one that is sought."""
    try:
        message = stored.decode(payload)
    except BadMessage:
        return None  # whoever claims it finds out what it is
    return message if sought.covers(message.headers) else None


def replace_delayed(connection: sqlite3.Connection, replacements: Iterable[tuple[int, Message | None]]) -> int:
    """Delete each row that is still delayed, or make it ready with another message in it; return how many there were."""
    taken = 0
    for row, replacement in replacements:
        if replacement is None:
            cursor = connection.execute(f"DELETE FROM messages WHERE id = ? AND state = {DELAYED}", (row,))
        else:
            cursor = connection.execute(
                f"UPDATE messages SET state = {READY}, payload = ? WHERE id = ? AND state = {DELAYED}",
                (stored.encode(replacement), row),
            )
        taken += cursor.rowcount
    return taken
