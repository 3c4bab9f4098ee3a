"""Chords as broker, backend and core see them: sizes, parts and who finishes.  What is in a part they do not look at."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from celeriac.core.states import EXCEPTION_STATES

CLOSED_KEPT_S: Final = 86_400.0
"""How long it is known of a chord that it is closed, when nothing else was ever known of it."""
CLOSED_KEPT_MIN_S: Final = 300.0
"""Of any chord, so that a member that is repeated after a lost lease finds it closed, however short results are kept."""


class ChordOpening(Struct, array_like=True, frozen=True):
    """A chord whose header is about to be sent."""

    group_id: str
    size: int
    """How many parts make it complete."""
    expires_s: float | None
    """How long what is kept about it lives after its last progress; None for ever."""
    body: bytes = b""
    """The signature of its body, for whoever has to finish it by hand; see `wire.chord_part`."""


class Part(Struct, array_like=True, frozen=True):
    """One member of a chord's header has ended."""

    group_id: str
    member_id: str
    index: int | None
    """Its place among the results; None: after all that have one."""
    payload: bytes
    """Celery's document of it; see `wire.chord_part`."""
    expires_s: float | None = None
    body: bytes = b""
    """The signature of the chord's body, where the member's own message does not hold it."""


class EndedMember(Struct, frozen=True):
    """How one member of a header has ended, as its part tells."""

    id: str
    state: str
    result: Any
    """The value; in an exception state the exception."""

    @property
    def failed(self) -> bool:
        """True when there is an exception in the place of a value."""
        return self.state in EXCEPTION_STATES


class Collected(Struct, frozen=True):
    """Everything that a chord's body is made of."""

    parts: list[bytes]
    """The payloads, by index."""
    structure: bytes | None = None
    """How a header was nested, as Celery keeps it: a result tuple."""


class Completed(Struct, frozen=True):
    """Answer to a settlement whose part made a chord complete: nothing else of it has been done yet.

    It is to be settled again, together with what follows from the chord and with the group in `closes`.
    """

    tag: Any
    group_id: str


class ChordState(Struct, frozen=True):
    """An open chord as its store sees it."""

    group_id: str
    size: int | None
    """None: not known yet, or no more."""
    ended: int
    """How many parts are in."""
    updated_at: float
    """Unix seconds of its last progress."""
    claimed: bool = False
    """Somebody has begun to send the body."""
    body: bytes = b""
