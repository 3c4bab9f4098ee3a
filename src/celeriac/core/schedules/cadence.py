"""What a schedule is to the scheduler: it says which tick comes next. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol

_FIRST_LOOK_BACK: Final = timedelta(seconds=1)

NextAfter = Callable[[datetime], datetime | None]


class Cadence(Protocol):
    """Anything with ticks. Datetimes have a zone, in which a schedule that reads clocks reads them."""

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first tick after an instant; None: there is none any more."""

    def latest_until(self, last: datetime, instant: datetime) -> datetime | None:
        """Return the latest of the ticks that follow `last`, up to `instant`; None when there is none."""


class Zoned:
    """A cadence in UTC of one whose schedule reads the clocks of a zone.

    Python compares and subtracts datetimes of one zone as what clocks show, which is wrong where they are changed: so whoever
    reckons with ticks does it here.
    """

    def __init__(self, cadence: Cadence, zone: tzinfo) -> None:
        self._cadence = cadence
        self._zone = zone

    def next_after(self, instant: datetime) -> datetime | None:
        """See `Cadence.next_after`."""
        return _in_utc(self._cadence.next_after(instant.astimezone(self._zone)))

    def latest_until(self, last: datetime, instant: datetime) -> datetime | None:
        """See `Cadence.latest_until`."""
        return _in_utc(self._cadence.latest_until(last.astimezone(self._zone), instant.astimezone(self._zone)))


def latest_by_looking_back(next_after: NextAfter, last: datetime, instant: datetime) -> datetime | None:
    """Answer `latest_until` for ticks that do not depend on those before them, with few questions however many were missed."""
    zone = last.tzinfo
    begin, end = last.astimezone(UTC), instant.astimezone(UTC)

    def following(moment: datetime) -> datetime | None:
        tick = _in_utc(next_after(moment.astimezone(zone)))
        return None if tick is None or tick > end else tick

    back = _FIRST_LOOK_BACK
    while (start := end - back) > begin and following(start) is None:
        back *= 2
    latest, tick = None, following(max(start, begin))
    while tick is not None:
        latest, tick = tick, following(tick)
    return None if latest is None else latest.astimezone(zone)


def _in_utc(tick: datetime | None) -> datetime | None:
    return None if tick is None else tick.astimezone(UTC)
