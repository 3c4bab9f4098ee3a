"""The tables of chords: sizes, parts, and who finishes. Each function is a part of the caller's transaction.

What has expired counts as never having been, whether housekeeping has been there yet or not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from math import inf
from typing import Final

from msgspec import structs

from celeriac.core.chord_row import ChordRow
from celeriac.core.workflow import CLOSED_KEPT_MIN_S, CLOSED_KEPT_S, ChordOpening, ChordState, Collected, Part
from celeriac.transports.sqlite.results import chunks, marks

EXPIRED_PER_SWEEP: Final = 100
"""Chords; each may have thousands of parts."""

_LIVING: Final = "(expires_at IS NULL OR expires_at > ?)"


def open_all(connection: sqlite3.Connection, openings: Iterable[ChordOpening], now: float) -> None:
    """Set the sizes of chords; what is known of them already stays, and one that is closed stays so."""
    for opening in openings:
        chord = _read(connection, opening.group_id, now)
        if chord.closed:
            continue
        chord.open(opening, now)
        _write(connection, chord, opening.expires_s, now)


def extend(connection: sqlite3.Connection, group_id: str, member_id: str, expires_s: float | None, now: float) -> None:
    """Have a chord wait for one more member, which counts once however often it is named."""
    chord = _read(connection, group_id, now)
    if chord.closed:
        return
    added = connection.execute("INSERT OR IGNORE INTO chord_additions VALUES (?, ?)", (group_id, member_id)).rowcount
    if added:
        chord.added += 1
        chord.updated_at = now
    _write(connection, chord, expires_s, now)


def join(connection: sqlite3.Connection, parts: Iterable[Part], now: float) -> list[bool]:
    """Add parts, and tell for each whether its member has to finish the chord; see `ResultWriter.join`."""
    return [_join(connection, part, now) for part in parts]


def _join(connection: sqlite3.Connection, part: Part, now: float) -> bool:
    chord = _read(connection, part.group_id, now)
    if chord.closed:
        return False
    place = inf if part.index is None else part.index
    identity = f"{part.member_id}:{place}"
    is_new = False
    if chord.finisher is None:  # else whoever finishes it must not see it change
        is_new = bool(
            connection.execute(
                "INSERT OR IGNORE INTO chord_parts (group_id, place, member_id, payload) VALUES (?, ?, ?, ?)",
                (part.group_id, place, part.member_id, part.payload),
            ).rowcount
        )
    finishes = chord.note(part, identity, is_new=is_new, now=now)
    _write(connection, chord, part.expires_s, now)
    return finishes


def collect(connection: sqlite3.Connection, group_id: str, now: float) -> Collected:
    """Return the parts by index, those without one last."""
    rows = connection.execute(
        "SELECT payload FROM chord_parts JOIN chords USING (group_id)"
        f" WHERE group_id = ? AND {_LIVING} ORDER BY place, number",
        (group_id, now),
    )
    return Collected([payload for (payload,) in rows])


def close(connection: sqlite3.Connection, group_ids: Iterable[str], now: float) -> None:
    """Forget all but that the chords are closed."""
    for some in chunks(group_ids):
        _forget_parts(connection, some)
        connection.executemany(
            "INSERT INTO chords (group_id, closed, updated_at, kept_s, expires_at) VALUES (?, 1, ?, ?, ?)"
            " ON CONFLICT (group_id) DO UPDATE SET closed = 1, size = NULL, added = 0, ended = 0, finisher = NULL,"
            " body = x'', expires_at = ? + max(kept_s, ?) WHERE NOT closed",
            [(group_id, now, CLOSED_KEPT_S, now + CLOSED_KEPT_S, now, CLOSED_KEPT_MIN_S) for group_id in some],
        )


def states(connection: sqlite3.Connection, group_ids: Sequence[str] | None, limit: int, now: float) -> list[ChordState]:
    """Return open chords, those first that have seen no progress for longest."""
    found: list[ChordState] = []
    if group_ids is None:
        found += map(_state, connection.execute(_states_where("NOT closed"), (now, limit)))
    else:
        for some in chunks(group_ids):
            query = _states_where(f"NOT closed AND group_id IN ({marks(some)})")
            found += map(_state, connection.execute(query, (*some, now, limit)))
        found.sort(key=lambda state: state.updated_at)
    return found[:limit]


def expire(connection: sqlite3.Connection, now: float) -> None:
    """Delete chords whose time is over, so many at a time that nobody has to wait for it."""
    rows = connection.execute("SELECT group_id FROM chords WHERE expires_at <= ? LIMIT ?", (now, EXPIRED_PER_SWEEP))
    _forget(connection, [group_id for (group_id,) in rows.fetchall()])


def _states_where(condition: str) -> str:
    return (
        "SELECT group_id, size + added, ended, updated_at, finisher IS NOT NULL, body FROM chords"
        f" WHERE {condition} AND {_LIVING} ORDER BY updated_at LIMIT ?"
    )


def _state(row: tuple[str, int | None, int, float, int, bytes]) -> ChordState:
    group_id, size, ended, updated_at, claimed, body = row
    return ChordState(group_id, size, ended, updated_at, bool(claimed), body)


def _read(connection: sqlite3.Connection, group_id: str, now: float) -> ChordRow:
    """Return what is known of a chord, or a new one."""
    row = connection.execute(
        "SELECT group_id, size, added, ended, finisher, closed, updated_at, kept_s, expires_at, body FROM chords"
        " WHERE group_id = ?",
        (group_id,),
    ).fetchone()
    if row is None:
        return ChordRow(group_id, updated_at=now)
    chord = ChordRow(*row)
    if chord.is_over(now):
        _forget(connection, [group_id])
        return ChordRow(group_id, updated_at=now)
    return chord


def _write(connection: sqlite3.Connection, chord: ChordRow, expires_s: float | None, now: float) -> None:
    """Keep an open chord for so long from now on."""
    chord.keep(expires_s, now)
    connection.execute(
        "INSERT INTO chords (group_id, size, added, ended, finisher, closed, updated_at, kept_s, expires_at, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (group_id) DO UPDATE SET size = excluded.size, added = excluded.added, ended = excluded.ended,"
        " finisher = excluded.finisher, updated_at = excluded.updated_at, kept_s = excluded.kept_s,"
        " expires_at = excluded.expires_at, body = excluded.body",
        structs.astuple(chord),
    )


def _forget(connection: sqlite3.Connection, group_ids: Sequence[str]) -> None:
    for some in chunks(group_ids):
        connection.execute(f"DELETE FROM chords WHERE group_id IN ({marks(some)})", some)
        _forget_parts(connection, some)


def _forget_parts(connection: sqlite3.Connection, group_ids: Sequence[str]) -> None:
    connection.execute(f"DELETE FROM chord_parts WHERE group_id IN ({marks(group_ids)})", group_ids)
    connection.execute(f"DELETE FROM chord_additions WHERE group_id IN ({marks(group_ids)})", group_ids)
