"""Statements on the tables of chords: sizes, parts, and who finishes. Each function is a part of the caller's transaction.

The row of a chord is locked before anything of it is read, so that the members of one chord come one after another; chords are taken
in the order of their ids, so that two writers wait for each other at most once.  What has expired counts as never having been.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import structs
from sqlalchemy import ColumnElement, Connection, delete, insert, or_, select, update

from celeriac.backends.sqlalchemy.keys import key_of
from celeriac.backends.sqlalchemy.results import chunks
from celeriac.backends.sqlalchemy.tables import Tables
from celeriac.core.chord_row import ADDED, ChordRow, place_of
from celeriac.core.workflow import ChordOpening, ChordState, Collected, Part

EXPIRED_PER_SWEEP: Final = 100
"""Chords; each may have thousands of parts."""


def open_all(connection: Connection, tables: Tables, openings: Iterable[ChordOpening], now: float) -> None:
    """Set the sizes of chords; what is known of them already stays, and one that is closed stays so."""
    for opening in sorted(openings, key=lambda opening: key_of(opening.group_id)):
        chord, is_new = _lock(connection, tables, opening.group_id, now)
        if chord.closed:
            continue
        chord.open(opening, now)
        _write(connection, tables, chord, is_new, opening.expires_s, now)


def extend(
    connection: Connection, tables: Tables, group_id: str, member_id: str, expires_s: float | None, now: float
) -> None:
    """Have a chord wait for one more member, which counts once however often it is named."""
    chord, is_new = _lock(connection, tables, group_id, now)
    if chord.closed:
        return
    member = key_of(member_id)
    if (member, ADDED) not in _known(connection, tables, chord.group_id, [member]):
        _insert_parts(connection, tables, [_part_row(chord.group_id, member, ADDED, 0, b"")])
        chord.added += 1
        chord.updated_at = now
    _write(connection, tables, chord, is_new, expires_s, now)


def join(connection: Connection, tables: Tables, parts: Sequence[Part], now: float) -> list[bool]:
    """Add parts, and tell for each whether its member has to finish the chord; see `ResultWriter.join`."""
    told = [False] * len(parts)
    by_chord: dict[str, list[int]] = {}
    for number, part in enumerate(parts):
        by_chord.setdefault(key_of(part.group_id), []).append(number)
    for group_id in sorted(by_chord):
        numbers = by_chord[group_id]
        chord, is_new = _lock(connection, tables, group_id, now)
        if chord.closed:
            continue
        mine = [parts[number] for number in numbers]
        known = _known(connection, tables, group_id, [key_of(part.member_id) for part in mine])
        rows: list[dict[str, Any]] = []
        for number, part in zip(numbers, mine, strict=True):
            told[number] = _join(chord, part, known, rows, now)
        _insert_parts(connection, tables, rows)
        _write(connection, tables, chord, is_new, mine[-1].expires_s, now)
    return told


def collect(connection: Connection, tables: Tables, group_id: str, now: float) -> Collected:
    """Return the parts by index, those without one last."""
    parts, chords, key = tables.parts.c, tables.chords, key_of(group_id)
    lives = select(chords.c.group_id).where(chords.c.group_id == key, _living(tables, now)).exists()
    query = (
        select(parts.payload)
        .where(parts.group_id == key, parts.place != ADDED, lives)
        .order_by(parts.place, parts.number)
    )
    return Collected([bytes(payload) for payload in connection.execute(query).scalars()])


def close(connection: Connection, tables: Tables, group_ids: Iterable[str], now: float) -> None:
    """Forget all but that the chords are closed."""
    for group_id in sorted({key_of(group_id) for group_id in group_ids}):
        chord, is_new = _lock(connection, tables, group_id, now)
        if chord.closed:
            continue
        _forget_parts(connection, tables, [group_id])
        kept_s = chord.kept_when_closed_s(is_unknown=is_new)
        _write(connection, tables, ChordRow(group_id, closed=1, updated_at=now), is_new, kept_s, now)


def states(
    connection: Connection, tables: Tables, group_ids: Sequence[str] | None, limit: int, now: float
) -> list[ChordState]:
    """Return open chords, those first that have seen no progress for longest."""
    table = tables.chords
    open_ones = select(table).where(table.c.closed == 0, _living(tables, now)).order_by(table.c.updated_at).limit(limit)
    found: list[ChordState] = []
    if group_ids is None:
        return [_chord(row).state() for row in connection.execute(open_ones)]
    for some in chunks(key_of(group_id) for group_id in group_ids):
        found += [_chord(row).state() for row in connection.execute(open_ones.where(table.c.group_id.in_(some)))]
    found.sort(key=lambda state: state.updated_at)
    return found[:limit]


def expire(connection: Connection, tables: Tables, now: float) -> bool:
    """Delete chords whose time is over, so many at a time that nobody has to wait for it; return whether there may be more."""
    table = tables.chords
    over = table.c.expires_at <= now
    query = select(table.c.group_id).where(over).order_by(table.c.group_id).limit(EXPIRED_PER_SWEEP).with_for_update()
    group_ids = list(connection.execute(query).scalars())
    if group_ids:
        _forget_parts(connection, tables, group_ids)
        connection.execute(delete(table).where(table.c.group_id.in_(group_ids)))
    return len(group_ids) >= EXPIRED_PER_SWEEP


def _join(chord: ChordRow, part: Part, known: set[tuple[str, int]], rows: list[dict[str, Any]], now: float) -> bool:
    member, place = key_of(part.member_id), place_of(part)
    is_new = (member, place) not in known
    if is_new:
        known.add((member, place))
        rows.append(_part_row(chord.group_id, member, place, chord.ended, part.payload))
    return chord.note(part, member, is_new=is_new, now=now)


def _lock(connection: Connection, tables: Tables, group_id: str, now: float) -> tuple[ChordRow, bool]:
    """Return a chord, which is nobody else's until the transaction ends, and whether it is a new one.

    Two who make the same new one meet when they write it; one of both has to do it again.
    """
    key = key_of(group_id)
    row = connection.execute(select(tables.chords).where(tables.chords.c.group_id == key).with_for_update()).first()
    if row is None:
        return ChordRow(key, updated_at=now), True
    chord = _chord(row)
    if chord.is_over(now):
        _forget_parts(connection, tables, [key])
        return ChordRow(key, updated_at=now), False
    return chord, False


def _write(
    connection: Connection, tables: Tables, chord: ChordRow, is_new: bool, expires_s: float | None, now: float
) -> None:
    """Keep a chord for so long from now on."""
    chord.keep(expires_s, now)
    values = structs.asdict(chord)
    if is_new:
        connection.execute(insert(tables.chords), values)
    else:
        connection.execute(update(tables.chords).where(tables.chords.c.group_id == chord.group_id), values)


def _known(connection: Connection, tables: Tables, group_id: str, members: Iterable[str]) -> set[tuple[str, int]]:
    """Return which parts of these members are in."""
    parts = tables.parts.c
    known: set[tuple[str, int]] = set()
    for some in chunks(dict.fromkeys(members)):
        query = select(parts.member_id, parts.place).where(parts.group_id == group_id, parts.member_id.in_(some))
        known |= {(member, place) for member, place in connection.execute(query)}
    return known


def _part_row(group_id: str, member: str, place: int, number: int, payload: bytes) -> dict[str, Any]:
    return {"group_id": group_id, "place": place, "member_id": member, "number": number, "payload": payload}


def _insert_parts(connection: Connection, tables: Tables, rows: Sequence[dict[str, Any]]) -> None:
    for some in chunks(rows):
        connection.execute(insert(tables.parts), some)


def _forget_parts(connection: Connection, tables: Tables, group_ids: Sequence[str]) -> None:
    connection.execute(delete(tables.parts).where(tables.parts.c.group_id.in_(group_ids)))


def _living(tables: Tables, now: float) -> ColumnElement[bool]:
    expires_at = tables.chords.c.expires_at
    return or_(expires_at.is_(None), expires_at > now)


def _chord(row: Any) -> ChordRow:
    values = dict(row._mapping)
    return ChordRow(**{**values, "body": bytes(values["body"])})
