"""The tables of letters and mailboxes. Each function is a part of the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from typing import Final

from celeriac.brokers.embedded import stored
from celeriac.core.message import Message

LETTER_KEPT_S: Final = 10.0
"""Whoever listens has read a letter long before."""
MAILBOX_KEPT_S: Final = 30.0
"""A process that has not put this off for so long is gone."""


def keep_mailboxes(connection: sqlite3.Connection, mailboxes: Iterable[tuple[str, str]], now: float) -> None:
    """Say that somebody listens: (queue, exchange)."""
    connection.executemany(
        "INSERT OR REPLACE INTO mailboxes (queue, exchange, kept_until) VALUES (?, ?, ?)",
        [(queue, exchange, now + MAILBOX_KEPT_S) for queue, exchange in mailboxes],
    )
    connection.execute("DELETE FROM mailboxes WHERE kept_until <= ?", (now,))
    connection.execute("DELETE FROM letters WHERE expires_at <= ?", (now,))


def end_mailboxes(connection: sqlite3.Connection, mailboxes: Iterable[tuple[str, str]]) -> None:
    """Say that somebody listens no more."""
    connection.executemany("DELETE FROM mailboxes WHERE queue = ? AND exchange = ?", mailboxes)


def is_heard(connection: sqlite3.Connection, exchange: str, now: float) -> bool:
    """Tell whether somebody listens behind an exchange."""
    found = connection.execute("SELECT 1 FROM mailboxes WHERE exchange = ? AND kept_until > ? LIMIT 1", (exchange, now))
    return found.fetchone() is not None


def put(connection: sqlite3.Connection, exchange: str, letters: Iterable[Message], now: float) -> None:
    """Add letters, and delete those whose time is over."""
    connection.execute("DELETE FROM letters WHERE expires_at <= ?", (now,))
    connection.executemany(
        "INSERT INTO letters (exchange, expires_at, payload) VALUES (?, ?, ?)",
        [(exchange, now + LETTER_KEPT_S, stored.encode(letter)) for letter in letters],
    )


def last_number(connection: sqlite3.Connection) -> int:
    """Return the number of the last letter that was ever put."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'letters'").fetchone()
    number: int = row[0] if row else 0
    return number


def after(connection: sqlite3.Connection, number: int, exchanges: Collection[str]) -> list[tuple[int, bytes]]:
    """Return number and payload of the letters of some exchanges with a higher number, in order."""
    marks = ", ".join("?" * len(exchanges))
    return connection.execute(
        f"SELECT number, payload FROM letters WHERE number > ? AND exchange IN ({marks}) ORDER BY number",
        (number, *exchanges),
    ).fetchall()
