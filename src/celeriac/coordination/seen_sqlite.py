"""Marks of completed messages in a SQLite file, by default the broker's own."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection
from typing import Final

from celeriac.exceptions import CoordinationUnavailable
from celeriac.transports.sqlite.location import path_of
from celeriac.transports.sqlite.shared import SharedDatabase

OLD_AT_ONCE: Final = 1000
"""Marks whose time is over, dropped with each batch."""

TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS seen_marks (mark TEXT PRIMARY KEY, ends REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS seen_marks_ends ON seen_marks (ends)",
)


class SqliteSeenStore:
    """Shared by the processes of one machine. Thread-safe, fork-safe, blocking."""

    def __init__(self, url: str) -> None:
        """Raises `ImproperlyConfigured` for a URL that names no file."""
        self._database = SharedDatabase(path_of(url), CoordinationUnavailable)

    def seen(self, marks: Collection[str], timeout_s: float) -> set[str]:
        """See `SeenStore.seen`."""
        return self._database.read(lambda connection: _kept(connection, marks, time.time()), timeout_s)

    def remember(self, marks: Collection[str], kept_s: float, timeout_s: float) -> None:
        """See `SeenStore.remember`; one transaction."""
        self._database.write(lambda connection: _keep(connection, marks, time.time(), kept_s), timeout_s)

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._database.close()


def _kept(connection: sqlite3.Connection, marks: Collection[str], now: float) -> set[str]:
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'seen_marks'"
    if connection.execute(known).fetchone() is None:
        return set()
    query = "SELECT 1 FROM seen_marks WHERE mark = ? AND ends > ?"
    return {mark for mark in marks if connection.execute(query, (mark, now)).fetchone()}


def _keep(connection: sqlite3.Connection, marks: Collection[str], now: float, kept_s: float) -> None:
    for statement in TABLES:
        connection.execute(statement)
    old = "DELETE FROM seen_marks WHERE mark IN (SELECT mark FROM seen_marks WHERE ends <= ? LIMIT ?)"
    connection.execute(old, (now, OLD_AT_ONCE))
    rows = [(mark, now + kept_s) for mark in marks]
    connection.executemany("INSERT OR REPLACE INTO seen_marks (mark, ends) VALUES (?, ?)", rows)
