"""Keys of unique tasks in a SQLite file, by default the broker's own."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Final, cast

from celeriac.coordination.unique_memory import marked_id
from celeriac.core.unique import Answer, Lock, Phase, Step, apply_step
from celeriac.exceptions import CoordinationUnavailable
from celeriac.transports.sqlite.location import path_of
from celeriac.transports.sqlite.shared import SharedDatabase

OLD_AT_ONCE: Final = 100
"""Keys that nobody gave back, dropped with each batch of steps."""

TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS unique_keys (
        key TEXT PRIMARY KEY,
        holder TEXT NOT NULL,
        until REAL NOT NULL,            -- Unix seconds, as all times here
        phase TEXT NOT NULL,
        window_until REAL NOT NULL,
        follower TEXT NOT NULL,
        follower_until REAL NOT NULL,
        ends REAL NOT NULL              -- when nothing of it is in force any more
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS unique_keys_ends ON unique_keys (ends)",
    """
    CREATE TABLE IF NOT EXISTS unique_replaced (
        key TEXT NOT NULL,
        id TEXT NOT NULL,               -- of a call that must not run any more
        by TEXT NOT NULL,
        ends REAL NOT NULL,
        PRIMARY KEY (key, id)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS unique_replaced_ends ON unique_replaced (ends)",
)


class SqliteUniqueStore:
    """Holds the keys in a file that the processes of one machine share. Thread-safe, fork-safe, blocking."""

    def __init__(self, url: str) -> None:
        """Raises `ImproperlyConfigured` for a URL that names no file."""
        self._database = SharedDatabase(path_of(url), CoordinationUnavailable)

    def apply(self, steps: Sequence[Step], timeout_s: float) -> list[Answer]:
        """See `UniqueStore.apply`; all the steps are one transaction."""
        return self._database.write(lambda connection: _apply_all(connection, steps, time.time()), timeout_s)

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._database.close()


def _apply_all(connection: sqlite3.Connection, steps: Sequence[Step], now: float) -> list[Answer]:
    for statement in TABLES:
        connection.execute(statement)
    for table, row in (("unique_keys", "key"), ("unique_replaced", "(key, id)")):
        chosen = row.strip("()")
        connection.execute(
            f"DELETE FROM {table} WHERE {row} IN (SELECT {chosen} FROM {table} WHERE ends <= ? LIMIT ?)",
            (now, OLD_AT_ONCE),
        )
    return [_apply(connection, step, now) for step in steps]


def _apply(connection: sqlite3.Connection, step: Step, now: float) -> Answer:
    before = _read(connection, step.key)
    by = ""
    if marked := marked_id(step):
        row = connection.execute(
            "SELECT by FROM unique_replaced WHERE key = ? AND id = ?", (step.key, marked)
        ).fetchone()
        by = row[0] if row else ""
    after = apply_step(before, step, now, by)
    if after.replaced:
        assert before is not None
        ends = max(before.until, before.follower_until)
        connection.execute(
            "INSERT OR REPLACE INTO unique_replaced VALUES (?, ?, ?, ?)", (step.key, after.replaced, step.id, ends)
        )
    if after.restored:
        connection.execute("DELETE FROM unique_replaced WHERE key = ? AND id = ?", (step.key, after.restored))
    if after.lock != before:
        _write(connection, step.key, after.lock)
    return after.answer


def _read(connection: sqlite3.Connection, key: str) -> Lock | None:
    row = connection.execute(
        "SELECT holder, until, phase, window_until, follower, follower_until FROM unique_keys WHERE key = ?", (key,)
    ).fetchone()
    if row is None:
        return None
    holder, until, phase, window_until, follower, follower_until = row
    return Lock(holder, until, cast("Phase", phase), window_until, follower, follower_until)


def _write(connection: sqlite3.Connection, key: str, lock: Lock | None) -> None:
    if lock is None:
        connection.execute("DELETE FROM unique_keys WHERE key = ?", (key,))
        return
    connection.execute(
        "INSERT OR REPLACE INTO unique_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            lock.holder,
            lock.until,
            lock.phase,
            lock.window_until,
            lock.follower,
            lock.follower_until,
            max(lock.until, lock.follower_until),
        ),
    )
