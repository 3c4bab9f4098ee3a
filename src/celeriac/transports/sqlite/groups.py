"""The table of saved groups: of which results a group consists. Each function is a part of the caller's transaction."""

from __future__ import annotations

import sqlite3

from celeriac.transports.sqlite.results import EXPIRED_PER_SWEEP


def save(connection: sqlite3.Connection, group_id: str, payload: bytes, expires_s: float | None, now: float) -> None:
    """Keep the document of a group; a later one takes its place."""
    expires_at = None if expires_s is None else now + expires_s
    connection.execute("INSERT OR REPLACE INTO saved_groups VALUES (?, ?, ?)", (group_id, expires_at, payload))


def fetch(connection: sqlite3.Connection, group_id: str, now: float) -> bytes | None:
    """Return the document of a group."""
    row = connection.execute(
        "SELECT payload FROM saved_groups WHERE group_id = ? AND (expires_at IS NULL OR expires_at > ?)",
        (group_id, now),
    ).fetchone()
    return row[0] if row else None


def forget(connection: sqlite3.Connection, group_id: str) -> None:
    """Delete the document of a group."""
    connection.execute("DELETE FROM saved_groups WHERE group_id = ?", (group_id,))


def expire(connection: sqlite3.Connection, now: float) -> None:
    """Delete groups whose time is over, so many at a time that nobody has to wait for it."""
    connection.execute(
        "DELETE FROM saved_groups WHERE group_id IN (SELECT group_id FROM saved_groups WHERE expires_at <= ? LIMIT ?)",
        (now, EXPIRED_PER_SWEEP),
    )
