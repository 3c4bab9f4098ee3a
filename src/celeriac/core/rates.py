"""Rates as the user writes them ("10/m"), and the arithmetic that keeps starts apart by one interval."""

from __future__ import annotations

import math
from typing import Any, Final

from msgspec import Struct

UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
INTERVAL_MAX_S: Final = 7 * 86_400.0
"""Slower rates than one in a week are taken for a mistake."""

Rate = str | int | float | None


def interval_of(rate: Any) -> float | None:
    """Return the seconds between two starts at a rate; None for no limit (None, 0, an empty text), as in Celery.

    A number, or a text without a unit, counts per second; "10/m" and "100/h" per minute and hour.  Raises `ValueError`.
    """
    if rate is None or rate == "":
        return None
    if isinstance(rate, bool) or not isinstance(rate, str | int | float):
        raise ValueError(_wrong(rate))
    count, slash, unit = rate.partition("/") if isinstance(rate, str) else (rate, "", "")
    unit = unit.strip() if slash else "s"
    try:
        per_unit = float(count)
    except ValueError:
        raise ValueError(_wrong(rate)) from None
    if unit not in UNITS or not math.isfinite(per_unit) or per_unit < 0:
        raise ValueError(_wrong(rate))
    if per_unit == 0:
        return None
    interval_s = UNITS[unit] / per_unit
    if interval_s > INTERVAL_MAX_S:
        raise ValueError(f"rate {rate!r} is slower than one start in {INTERVAL_MAX_S / 86_400:g} days")
    return interval_s


def _wrong(rate: object) -> str:
    return f"{rate!r} is no rate: write '5/s', '10/m', '100/h', a number (per second), or None for no limit"


class Pace(Struct):
    """What is remembered of one rate: times in Unix seconds, by the clock of whoever keeps it."""

    last: float = -math.inf
    """The latest start that was allowed."""
    next: float = -math.inf
    """The first slot that nobody has reserved."""
    late: float = -math.inf
    """The last slot given to somebody who missed his own."""
    interval_s: float = 0.0
    """The interval that these belong to."""

    def is_forgotten(self, now: float) -> bool:
        """Tell whether a new one would answer the same."""
        return max(self.last + self.interval_s, self.next, self.late) <= now


class Turn(Struct, frozen=True):
    """The answer to one who wants to start."""

    starts: bool
    """True: it starts at `at`, nobody else near it.  False: it has to ask again at `at`."""
    at: float
    slot: float | None = None
    """What it reserved: to be brought along when it asks again. None: nothing, `at` is only a time to ask again."""


def take_turn(pace: Pace, interval_s: float, slot: float | None, now: float, near_s: float, horizon_s: float) -> Turn:
    """Answer one who wants to start, and note the answer in `pace`.

    Args:
        slot: what it reserved before, None if nothing.
        near_s: so far ahead a start may be promised: the one who asks waits for it by itself.
        horizon_s: so far ahead slots are reserved.

    Two starts are never promised less than `interval_s` apart.  Reservations keep the order of those who asked; who comes late
    to his own slot starts as soon as the last start allows, and is moved behind others that came late if that is not near.
    """
    if interval_s != pace.interval_s:  # the rate was changed: what was reserved by the old one keeps nobody waiting
        pace.next = pace.late = -math.inf
        pace.interval_s = interval_s
    earliest = max(now, pace.last + interval_s)
    if slot is None:
        at = max(earliest, pace.next, pace.late + interval_s)
        if at <= now:
            return _start(pace, at, interval_s)
        if at > now + horizon_s:
            return Turn(False, now + horizon_s)
        pace.next = at + interval_s
        return Turn(False, at, at)
    at = max(earliest, slot)
    if at <= now + near_s:
        return _start(pace, at, interval_s)
    if at > slot:  # the slot is lost to somebody who started late
        at = pace.late = max(at, pace.late + interval_s)
    return Turn(False, at, at)


def _start(pace: Pace, at: float, interval_s: float) -> Turn:
    pace.last = at
    pace.next = max(pace.next, at + interval_s)
    return Turn(True, at)
