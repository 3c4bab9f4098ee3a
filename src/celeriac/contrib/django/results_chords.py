"""Chords in django-celery-results' table `ChordCounter`: sizes, parts, and who finishes. Each function is a part of a transaction.

A chord has a row under its own id, which is locked before anything of it is read, and one for each part under an id that begins with
the chord's.  Celery's own rows, whose `sub_tasks` is a JSON list, are left alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from celeriac.core.chord_row import ADDED, ChordRow, place_of
from celeriac.core.workflow import ChordOpening, ChordState, Collected, Part

_OPEN: Final = "celeriac-open"
_CLOSED: Final = "celeriac-closed"
"""What the text of a chord's row begins with, so that the database finds the open ones among many that are over."""


class Chords:
    """The statements, on one database. `rows` is the manager of `ChordCounter`, `now` Unix seconds."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def open_all(self, openings: Iterable[ChordOpening], now: float) -> None:
        """Set the sizes of chords; what is known of them already stays, and one that is closed stays so."""
        for opening in sorted(openings, key=lambda opening: opening.group_id):
            chord = self._lock(opening.group_id, now)
            if not chord.closed:
                chord.open(opening, now)
                self._write(chord, opening.expires_s, now)

    def extend(self, group_id: str, member_id: str, expires_s: float | None, now: float) -> None:
        """Have a chord wait for one more member, which counts once however often it is named."""
        chord = self._lock(group_id, now)
        if chord.closed:
            return
        if self._insert(group_id, ADDED, member_id, 0, b""):
            chord.added += 1
            chord.updated_at = now
        self._write(chord, expires_s, now)

    def join(self, parts: Sequence[Part], now: float) -> list[bool]:
        """Add parts, and tell for each whether its member has to finish the chord; see `ResultWriter.join`."""
        told = [False] * len(parts)
        by_chord: dict[str, list[int]] = {}
        for number, part in enumerate(parts):
            by_chord.setdefault(part.group_id, []).append(number)
        for group_id, numbers in sorted(by_chord.items()):
            chord = self._lock(group_id, now)
            if chord.closed:
                continue
            for number in numbers:
                told[number] = self._join(chord, parts[number], now)
            self._write(chord, parts[numbers[-1]].expires_s, now)
        return told

    def _join(self, chord: ChordRow, part: Part, now: float) -> bool:
        is_new = self._insert(chord.group_id, place_of(part), part.member_id, chord.ended, part.payload)
        return chord.note(part, part.member_id, is_new=is_new, now=now)

    def collect(self, group_id: str, now: float) -> Collected:
        """Return the parts by index, those without one last."""
        chord = self._read(group_id)
        if chord is None or chord.is_over(now):
            return Collected([])
        found = [(*_place_of(row.group_id), row.count, row.sub_tasks) for row in self._parts(group_id)]
        return Collected(
            [base64.b64decode(payload) for place, _, _, payload in sorted(found, key=_by_place) if place >= 0]
        )

    def close(self, group_ids: Iterable[str], now: float) -> None:
        """Forget all but that the chords are closed."""
        for group_id in sorted(set(group_ids)):
            chord = self._lock(group_id, now)
            if chord.closed:
                continue
            unknown = chord.size is None and not chord.ended and not chord.added
            self._parts(group_id).delete()
            kept_s = chord.kept_when_closed_s(is_unknown=unknown)
            self._write(ChordRow(group_id, closed=1, updated_at=now), kept_s, now)

    def states(self, group_ids: Sequence[str] | None, limit: int, now: float) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest."""
        rows = self._rows.filter(sub_tasks__startswith=_beginning(_OPEN))
        if group_ids is not None:
            rows = rows.filter(group_id__in=list(group_ids))
        chords = [chord for row in rows if (chord := _read(row)) is not None]
        open_ones = [chord for chord in chords if not chord.is_over(now)]
        open_ones.sort(key=lambda chord: chord.updated_at)
        return [chord.state() for chord in open_ones[:limit]]

    def expire(self, now: float) -> None:
        """Delete chords whose time is over."""
        for row in self._rows.filter(sub_tasks__startswith=_beginning("celeriac")).iterator():
            chord = _read(row)
            if chord is not None and chord.is_over(now):
                self._parts(chord.group_id).delete()
                row.delete()

    def _lock(self, group_id: str, now: float) -> ChordRow:
        """Return a chord, which is nobody else's until the transaction ends."""
        self._rows.get_or_create(
            group_id=group_id, defaults={"sub_tasks": _written(ChordRow(group_id, updated_at=now)), "count": 0}
        )
        chord = _read(self._rows.select_for_update().get(group_id=group_id))
        if chord is None:  # Celery counts a chord of this id: it has no part in ours
            return ChordRow(group_id, closed=1)
        if chord.is_over(now):
            self._parts(group_id).delete()
            return ChordRow(group_id, updated_at=now)
        return chord

    def _read(self, group_id: str) -> ChordRow | None:
        row = self._rows.filter(group_id=group_id).first()
        return None if row is None else _read(row)

    def _write(self, chord: ChordRow, expires_s: float | None, now: float) -> None:
        """Keep a chord for so long from now on."""
        chord.keep(expires_s, now)
        left = 0 if chord.size is None else max(0, chord.size + chord.added - chord.ended)
        self._rows.filter(group_id=chord.group_id).update(sub_tasks=_written(chord), count=left)

    def _parts(self, group_id: str) -> Any:
        return self._rows.filter(group_id__startswith=f"{group_id}/")

    def _insert(self, group_id: str, place: int, member_id: str, number: int, payload: bytes) -> bool:
        """Add a row unless it is there; tells whether it was added."""
        values = {"sub_tasks": base64.b64encode(payload).decode(), "count": number}
        _, added = self._rows.get_or_create(group_id=f"{group_id}/{place}/{member_id}", defaults=values)
        return bool(added)


def _place_of(key: str) -> tuple[int, str]:
    _, place, member_id = key.rsplit("/", 2)
    return int(place), member_id


def _by_place(found: tuple[int, str, int, str]) -> tuple[int, int]:
    place, _, number, _ = found
    return place, number


def _beginning(name: str) -> str:
    return f'{{"{name}'


def _read(row: Any) -> ChordRow | None:
    if not row.sub_tasks.startswith(_beginning("celeriac")):
        return None
    (chord,) = msgspec.json.decode(row.sub_tasks, type=dict[str, ChordRow]).values()
    return chord


def _written(chord: ChordRow) -> str:
    return msgspec.json.encode({_CLOSED if chord.closed else _OPEN: chord}).decode()
