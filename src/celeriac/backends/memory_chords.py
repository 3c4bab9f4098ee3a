"""Chords of the memory result backend: sizes, parts, and who finishes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from math import inf

from msgspec import Struct

from celeriac.backends.memory_expiry import Expiring
from celeriac.core.workflow import CLOSED_KEPT_MIN_S, CLOSED_KEPT_S, ChordOpening, ChordState, Collected, Part


class _Chord(Struct):
    updated_at: float
    """Unix seconds."""
    size: int | None = None
    body: bytes = b""
    added: set[str] = set()
    parts: dict[tuple[str, int | None], bytes] = {}
    """Member and index -> payload, as they came in."""
    finisher: tuple[str, int | None] | None = None
    kept_s: float | None = CLOSED_KEPT_S
    closed: bool = False

    @property
    def total(self) -> int | None:
        """How many parts make it complete, as far as is known."""
        return None if self.size is None else self.size + len(self.added)


class MemoryChords:
    """The chords of one place. Thread-safe; no call blocks for longer than it takes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns Unix seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._chords = Expiring[_Chord]()

    def open(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords; what is known of them already stays, and one that is closed stays so."""
        with self._lock:
            for opening in openings:
                chord = self._chord(opening.group_id)
                if chord.closed:
                    continue
                if chord.size is None:
                    chord.updated_at = self._clock()
                chord.size = opening.size
                chord.body = opening.body or chord.body
                self._keep(opening.group_id, chord, opening.expires_s)

    def extend(self, group_id: str, member_id: str, expires_s: float | None) -> None:
        """Have a chord wait for one more member, which counts once however often it is named."""
        with self._lock:
            chord = self._chord(group_id)
            if chord.closed:
                return
            if member_id not in chord.added:
                chord.added.add(member_id)
                chord.updated_at = self._clock()
            self._keep(group_id, chord, expires_s)

    def join(self, parts: Sequence[Part]) -> list[bool]:
        """Add parts, and tell for each whether its member has to finish the chord; see `ResultWriter.join`."""
        with self._lock:
            return [self._join(part) for part in parts]

    def collect(self, group_id: str) -> Collected:
        """Return the parts by index, those without one last."""
        with self._lock:
            parts = self._chord(group_id).parts.items()
            ordered = sorted(parts, key=lambda part: inf if part[0][1] is None else part[0][1])
            return Collected([payload for _, payload in ordered])

    def close(self, group_ids: Sequence[str]) -> None:
        """Forget all but that the chords are closed."""
        with self._lock:
            for group_id in group_ids:
                chord = self._chord(group_id)
                if not chord.closed:
                    kept_s = None if chord.kept_s is None else max(chord.kept_s, CLOSED_KEPT_MIN_S)
                    self._keep(group_id, _Chord(self._clock(), closed=True), kept_s)

    def states(self, group_ids: Sequence[str] | None, limit: int) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest."""
        with self._lock:
            self._chords.expire(self._clock())
            states = [
                ChordState(
                    group_id, chord.total, len(chord.parts), chord.updated_at, chord.finisher is not None, chord.body
                )
                for group_id, chord in self._chords.items()
                if not chord.closed and (group_ids is None or group_id in group_ids)
            ]
        return sorted(states, key=lambda state: state.updated_at)[:limit]

    def _join(self, part: Part) -> bool:
        chord = self._chord(part.group_id)
        if chord.closed:
            return False
        key = part.member_id, part.index
        if key not in chord.parts and chord.finisher is None:  # whoever finishes it must not see it change
            chord.parts[key] = part.payload
            chord.updated_at = self._clock()
        chord.body = chord.body or part.body
        if chord.finisher is None and chord.total is not None and len(chord.parts) >= chord.total:
            chord.finisher = key
        self._keep(part.group_id, chord, part.expires_s)
        return chord.finisher == key

    def _chord(self, group_id: str) -> _Chord:
        """Return what is known of a chord, or a new one; `_keep` makes either last."""
        now = self._clock()
        self._chords.expire(now)
        return self._chords.get(group_id) or _Chord(now)

    def _keep(self, group_id: str, chord: _Chord, expires_s: float | None) -> None:
        """Keep a chord for so long from now on."""
        chord.kept_s = expires_s
        self._chords.put(group_id, chord, inf if expires_s is None else self._clock() + expires_s)
