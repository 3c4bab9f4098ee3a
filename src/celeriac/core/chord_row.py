"""What the row of a chord says, in every database that keeps chords in tables."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from celeriac.core.workflow import CLOSED_KEPT_MIN_S, CLOSED_KEPT_S, ChordOpening, ChordState, Part

NO_PLACE: Final = 2**31 - 1
"""Comes after all that have one."""
ADDED: Final = -1
"""The place of a row that is no part: it says that this member was added to the chord later."""


class ChordRow(Struct):
    """The row of a chord, locked by who changes it; times in Unix seconds."""

    group_id: str
    size: int | None = None
    added: int = 0
    ended: int = 0
    finisher: str | None = None
    closed: int = 0
    """0 or 1, as all databases write it."""
    updated_at: float = 0.0
    kept_s: float | None = None
    expires_at: float | None = None
    body: bytes = b""

    @property
    def complete(self) -> bool:
        """Whether all members have ended."""
        return self.size is not None and self.ended >= self.size + self.added

    def open(self, opening: ChordOpening, now: float) -> None:
        """Take in what is said when a chord is opened; what is known of it already stays."""
        if self.size is None:
            self.updated_at = now
        self.size = opening.size
        self.body = opening.body or self.body

    def note(self, part: Part, member: str, *, is_new: bool, now: float) -> bool:
        """Take in a part, which counts if it is new, and tell whether its member has to finish the chord."""
        if is_new:
            self.ended += 1
            self.updated_at = now
        self.body = self.body or part.body
        if self.finisher is None and self.complete:
            self.finisher = member
        return self.finisher == member

    def keep(self, expires_s: float | None, now: float) -> None:
        """Be kept for so long from now on."""
        self.kept_s = expires_s
        self.expires_at = None if expires_s is None else now + expires_s

    def is_over(self, now: float) -> bool:
        """Tell whether its time has passed."""
        return self.expires_at is not None and self.expires_at <= now

    def kept_when_closed_s(self, *, is_unknown: bool) -> float | None:
        """Return how long it stays known that it is closed; None: for ever."""
        kept_s = CLOSED_KEPT_S if is_unknown else self.kept_s
        return None if kept_s is None else max(kept_s, CLOSED_KEPT_MIN_S)

    def state(self) -> ChordState:
        """Return what is told of it."""
        size = None if self.size is None else self.size + self.added
        return ChordState(self.group_id, size, self.ended, self.updated_at, self.finisher is not None, self.body)


def place_of(part: Part) -> int:
    """Return by what parts are put in order."""
    return NO_PLACE if part.index is None else part.index
