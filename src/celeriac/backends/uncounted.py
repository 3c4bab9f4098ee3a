"""What backends say that can neither count the members of a chord nor keep what many clients share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from celeriac.core.workflow import ChordOpening, Part
from celeriac.exceptions import ImproperlyConfigured


class UncountedReader:
    """The client's operations on chords and saved groups: each that has something to do raises `ImproperlyConfigured`."""

    shown: str
    """The backend, as the message names it."""

    def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Raise `ImproperlyConfigured`, unless there is nothing to open."""
        if openings:
            raise _cannot_count(self.shown)

    def extend_chord(self, group_id: str, member_id: str, expires_s: float | None) -> NoReturn:
        """Raise `ImproperlyConfigured`."""
        raise _cannot_count(self.shown)

    def chords(self, group_ids: Sequence[str] | None = None, limit: int = 100) -> NoReturn:
        """Raise `ImproperlyConfigured`."""
        raise _cannot_count(self.shown)

    def collect(self, group_id: str) -> NoReturn:
        """Raise `ImproperlyConfigured`."""
        raise _cannot_count(self.shown)

    def close_chords(self, group_ids: Sequence[str]) -> None:
        """Raise `ImproperlyConfigured`, unless there is nothing to close."""
        if group_ids:
            raise _cannot_count(self.shown)

    def save_group(self, group_id: str, payload: bytes, expires_s: float | None) -> NoReturn:
        """Raise `ImproperlyConfigured`."""
        raise _cannot_keep(self.shown)

    def fetch_group(self, group_id: str) -> NoReturn:
        """Raise `ImproperlyConfigured`."""
        raise _cannot_keep(self.shown)

    def forget_group(self, group_id: str) -> NoReturn:
        """Raise `ImproperlyConfigured`."""
        raise _cannot_keep(self.shown)


class UncountedWriter:
    """The worker's operations on chords: each that has something to do raises `ImproperlyConfigured`."""

    shown: str
    """The backend, as the message names it."""

    async def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Raise `ImproperlyConfigured`, unless there is nothing to open."""
        if openings:
            raise _cannot_count(self.shown)

    async def join(self, parts: Sequence[Part]) -> list[bool]:
        """Raise `ImproperlyConfigured`, unless there is nothing to join."""
        if parts:
            raise _cannot_count(self.shown)
        return []

    async def collect(self, group_id: str) -> NoReturn:
        """Raise `ImproperlyConfigured`."""
        raise _cannot_count(self.shown)

    async def close_chords(self, group_ids: Sequence[str]) -> None:
        """Raise `ImproperlyConfigured`, unless there is nothing to close."""
        if group_ids:
            raise _cannot_count(self.shown)

    async def chords(self, limit: int) -> NoReturn:
        """Raise `ImproperlyConfigured`."""
        raise _cannot_count(self.shown)


_CURE = (
    "set result_backend to one that does: redis://, a database (db+postgresql://, db+mysql://), sqlite:/// for workers on one"
    " host, memory:// within one process"
)


def _cannot_count(shown: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"result backend {shown} does not count the members of a chord: {_CURE}")


def _cannot_keep(shown: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"result backend {shown} does not keep groups: {_CURE}")
