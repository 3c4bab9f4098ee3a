"""Boards in a SQLite file, inside of a transaction of the caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from celeriac.core.boards import Move

_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS boards (
        board TEXT NOT NULL,
        field TEXT NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (board, field)
    ) WITHOUT ROWID
"""


def read_board(connection: sqlite3.Connection, board: str) -> Mapping[str, str]:
    """Return everything that stands on a board."""
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'boards'"
    if connection.execute(known).fetchone() is None:
        return {}
    return dict(connection.execute("SELECT field, text FROM boards WHERE board = ?", (board,)))


def write_board(connection: sqlite3.Connection, board: str, moves: Sequence[Move]) -> list[bool]:
    """Make the moves, and tell which were made."""
    connection.execute(_TABLE)
    return [_move(connection, board, move) for move in moves]


def _move(connection: sqlite3.Connection, board: str, move: Move) -> bool:
    place = (board, move.field)
    found = connection.execute("SELECT text FROM boards WHERE board = ? AND field = ?", place).fetchone()
    if (found[0] if found else None) != move.before:
        return False
    if move.after is None:
        connection.execute("DELETE FROM boards WHERE board = ? AND field = ?", place)
    else:
        connection.execute("INSERT OR REPLACE INTO boards VALUES (?, ?, ?)", (*place, move.after))
    return True
