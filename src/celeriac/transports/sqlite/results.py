"""The table of results: storing, reading, expiring."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

from msgspec import Struct

from celeriac.core.effects import Record
from celeriac.core.states import SUCCESS

T = TypeVar("T")

IDS_PER_STATEMENT: Final = 500
EXPIRED_PER_SWEEP: Final = 1000


class News(Struct):
    """What was stored since a listener last asked."""

    number: int
    """Where to go on asking."""
    stored: list[tuple[int, str]]
    """Number and task id of each state."""
    started_over: bool
    """The file is a new one and counts from the beginning."""


def store(connection: sqlite3.Connection, records: Iterable[Record], now: float) -> None:
    """Store the records in their order, but overwrite no success that is still kept."""
    for record in records:
        connection.execute(
            "DELETE FROM results WHERE id = ? AND (state <> ? OR expires_at <= ?)", (record.id, SUCCESS, now)
        )
        expires_at = None if record.expires_s is None else now + record.expires_s
        connection.execute(
            "INSERT OR IGNORE INTO results (id, state, expires_at, payload) VALUES (?, ?, ?, ?)",
            (record.id, record.state, expires_at, record.payload),
        )


def fetch(connection: sqlite3.Connection, ids: Iterable[str], now: float) -> list[tuple[int, str, bytes]]:
    """Return number, id and document of those that are stored."""
    found: list[tuple[int, str, bytes]] = []
    for some in chunks(ids):
        found += connection.execute(
            f"SELECT number, id, payload FROM results WHERE id IN ({marks(some)})"
            " AND (expires_at IS NULL OR expires_at > ?)",
            (*some, now),
        )
    return found


def forget(connection: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Delete results."""
    for some in chunks(ids):
        connection.execute(f"DELETE FROM results WHERE id IN ({marks(some)})", some)


def newest(connection: sqlite3.Connection) -> int:
    """Return the number of the state that was stored last, 0 for none."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'results'").fetchone()
    return row[0] if row else 0


def news(connection: sqlite3.Connection, number: int) -> News:
    """Return what was stored after the given number, without the documents."""
    last = newest(connection)
    started_over = last < number
    after = 0 if started_over else number
    stored = connection.execute("SELECT number, id FROM results WHERE number > ? ORDER BY number", (after,)).fetchall()
    return News(last, stored, started_over)


def expire(connection: sqlite3.Connection, now: float) -> None:
    """Delete results whose time is over, so many at a time that nobody has to wait for it."""
    connection.execute(
        "DELETE FROM results WHERE number IN (SELECT number FROM results WHERE expires_at <= ? LIMIT ?)",
        (now, EXPIRED_PER_SWEEP),
    )


def chunks(items: Iterable[T], size: int = IDS_PER_STATEMENT) -> Iterator[Sequence[T]]:
    """Yield the items in tuples of at most `size`, as SQLite limits the parameters of a statement."""
    rest = iter(items)
    while some := tuple(islice(rest, size)):
        yield some


def marks(items: Sequence[object]) -> str:
    """Return as many question marks as there are items."""
    return ", ".join("?" * len(items))
