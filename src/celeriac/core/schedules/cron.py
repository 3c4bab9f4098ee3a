"""A crontab: when it is due next, found by arithmetic and not by trying minutes. Pure.

The rule for daylight saving:

- A crontab that names hours runs once for each time on the wall.  A time that is skipped runs at the end of what is skipped; one that
  comes twice runs the first time.
- One for every hour (`hour='*'`) runs whenever the clocks show its minutes: in both of two hours that look alike, and never for an hour
  that is not there.
"""

from __future__ import annotations

import calendar
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from msgspec import Struct

from celeriac.core.schedules.walls import change_between, instant_of, instants_of, offset_at, wall_of

_MONTHS_AHEAD: Final = 41 * 12
"""What never comes in so many months never comes: a 29 February on a given weekday is at most 40 years away."""
_LONGEST_REPEAT: Final = timedelta(hours=25)
"""Clocks were never put back by more than a day."""
_MOMENT: Final = timedelta(microseconds=1)


class Cron(Struct, frozen=True):
    """The five fields, each as the numbers that it means, in order; a day has to fit all of its three."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    weekdays: tuple[int, ...]
    """Sunday is 0."""
    days: tuple[int, ...]
    months: tuple[int, ...]

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first tick after an instant (with a zone, in which the fields are read); None when there is none any more."""
        zone = instant.tzinfo
        assert zone is not None
        after = instant.astimezone(UTC)
        wall = wall_of(after, zone)
        try:
            found = self._every_hour(after, wall, zone) if len(self.hours) == 24 else self._by_hours(after, wall, zone)
        except OverflowError:  # beyond the year 9999
            return None
        return None if found is None else found.astimezone(zone)

    def next_wall(self, wall: datetime) -> datetime | None:
        """Return the first time on the wall, after this one, that fits all the fields."""
        start = wall.replace(second=0, microsecond=0) + timedelta(minutes=1)
        today = start.date()
        if self._fits(today):
            hour_and_minute = self._next_time(start.hour, start.minute)
            if hour_and_minute is not None:
                return datetime.combine(today, time(*hour_and_minute))
        day = self._next_day(today)
        return None if day is None else datetime.combine(day, time(self.hours[0], self.minutes[0]))

    def _walls_after(self, wall: datetime) -> Iterator[datetime]:
        following = self.next_wall(wall)
        while following is not None:
            yield following
            following = self.next_wall(following)

    def _by_hours(self, after: datetime, wall: datetime, zone: tzinfo) -> datetime | None:
        for following in self._walls_after(wall):
            # Not after it: a time on the wall that has come already and is shown a second time, or the rest of a skipped hour.
            if (found := instant_of(following, zone)) > after:
                return found
        return None

    def _every_hour(self, after: datetime, wall: datetime, zone: tzinfo) -> datetime | None:
        found: list[datetime] = []
        for following in self._walls_after(wall):
            found = [instant for instant in instants_of(following, zone) if instant > after]
            if found:
                break
        # Clocks that are put back on the way there show once more what they have shown.
        until = min([after + _LONGEST_REPEAT, *found])
        if offset_at(until, zone) < offset_at(after, zone):
            change = change_between(after, until, zone)
            again = self.next_wall(wall_of(change, zone) - _MOMENT)
            if again is not None:
                found += [instant for instant in instants_of(again, zone) if instant >= change]
        return min(found, default=None)

    def _next_time(self, hour: int, minute: int) -> tuple[int, int] | None:
        """Return the first hour and minute of a day from this time on."""
        at = bisect_left(self.hours, hour)
        if at < len(self.hours) and self.hours[at] == hour:
            minute_at = bisect_left(self.minutes, minute)
            if minute_at < len(self.minutes):
                return hour, self.minutes[minute_at]
            at += 1
        return (self.hours[at], self.minutes[0]) if at < len(self.hours) else None

    def _fits(self, day: date) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays

    def _next_day(self, today: date) -> date | None:
        year, month, first = today.year, today.month, today.day + 1
        for _ in range(_MONTHS_AHEAD):
            if year > date.max.year:
                break
            if month in self.months:
                # Monday is 0 to `calendar`.
                first_weekday, length = calendar.monthrange(year, month)
                for day in self.days[bisect_left(self.days, first) : bisect_right(self.days, length)]:
                    if (first_weekday + day) % 7 in self.weekdays:
                        return date(year, month, day)
            first = 1
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        return None
