"""What schedulers remember of an entry, as it stands on their board."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

_STATE = "state:"
_ENTRY = "entry:"


class Claim(Struct, frozen=True, omit_defaults=True):
    """A tick that a scheduler is about to send, where claiming and sending are two steps."""

    tick: float
    by: str
    until: float
    """Then any other may send it; Unix seconds, as all times here."""


class State(Struct, frozen=True, omit_defaults=True):
    """How far an entry has come. Whatever changes it is a move from the one that was read."""

    last: float
    """Its latest tick, or when it was first seen."""
    runs: int = 0
    sent: float | None = None
    """When the latest of its runs was sent."""
    paused: bool = False
    claim: Claim | None = None
    known: float | None = None
    """When a scheduler last told that it has this entry; only of those whose ticks are far apart."""

    @property
    def kept_at(self) -> float:
        """When it was last certain that the entry is there."""
        return max(self.last, self.known or 0.0)

    @property
    def last_tick(self) -> datetime:
        """The latest tick, as a datetime."""
        return moment(self.last)

    def claimed(self, tick: datetime, by: str, until: float) -> State:
        """Return it with a claim."""
        return replace(self, claim=Claim(tick.timestamp(), by, until))

    def after(self, tick: datetime, now: float) -> State:
        """Return it after a tick was sent."""
        return replace(self, last=tick.timestamp(), runs=self.runs + 1, sent=now, claim=None)

    def known_at(self, now: float) -> State:
        """Return it after a scheduler told that it has the entry."""
        return replace(self, known=now)

    def skipped(self, until: datetime) -> State:
        """Return it after ticks that are not sent."""
        return replace(self, last=until.timestamp(), claim=None)


def moment(timestamp: float) -> datetime:
    """Return Unix seconds as a datetime in UTC, to the microsecond."""
    return datetime.fromtimestamp(round(timestamp, 6), UTC)


def state_field(name: str) -> str:
    """Return where the state of an entry stands."""
    return _STATE + name


def entry_field(name: str) -> str:
    """Return where an entry that was added at run time stands."""
    return _ENTRY + name


def names_with_state(fields: Iterable[str]) -> list[str]:
    """Name the entries of which something is remembered."""
    return [field.removeprefix(_STATE) for field in fields if field.startswith(_STATE)]


def stored_names(fields: Iterable[str]) -> list[str]:
    """Name the entries that were added at run time."""
    return [field.removeprefix(_ENTRY) for field in fields if field.startswith(_ENTRY)]


def read_state(text: str) -> State | None:
    """Return a state; None for what is none, which is treated as not being there."""
    try:
        return msgspec.json.decode(text, type=State)
    except (msgspec.DecodeError, ValueError):
        return None


def write_state(state: State) -> str:
    """Return the state as a text."""
    return msgspec.json.encode(state).decode()
