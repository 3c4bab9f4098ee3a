"""The schedule that repeats at an interval."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from celeriac.core.schedules.walls import instant_of, wall_of
from celeriac.exceptions import ParseException
from celeriac.schedules.base import BaseSchedule

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

_UNITS: Final = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))


class schedule(BaseSchedule):  # noqa: N801 - Celery's name
    """A tick every so many seconds of real time, whatever clocks are put forward or back.

    Args:
        run_every: seconds, or a timedelta; more than 0.
        relative: ticks come at full units of the interval: with one of days at midnight, of hours at the full hour, of minutes at the
            full minute, of seconds at the full second.
        nowfun, app: see `BaseSchedule`.

    Raises `ParseException`, a `ValueError`.
    """

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: Celeriac | None = None,
    ) -> None:
        super().__init__(nowfun, app)
        try:
            self.run_every = run_every if isinstance(run_every, timedelta) else timedelta(seconds=run_every or 0)
        except (TypeError, OverflowError):
            raise ParseException(f"an interval is seconds or a timedelta, not {run_every!r}") from None
        if self.run_every <= timedelta():
            raise ParseException(f"an interval of {self.run_every.total_seconds():g} s: it must be longer than 0")
        self.relative = relative

    @property
    def seconds(self) -> float:
        """The interval."""
        return self.run_every.total_seconds()

    @property
    def human_seconds(self) -> str:
        """The interval, for people."""
        return f"{self.seconds:.2f} seconds"

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the tick that follows one at `instant`."""
        try:
            if self.relative:
                return self._relative(instant, 1)
            return (instant.astimezone(UTC) + self.run_every).astimezone(instant.tzinfo)
        except OverflowError:
            return None

    def latest_until(self, last: datetime, instant: datetime) -> datetime | None:
        """Return the latest of the ticks after `last` that is not after `instant`; None when there is none."""
        passed = instant.astimezone(UTC) - last.astimezone(UTC)
        if not self.relative:
            count = passed // self.run_every
            return (last.astimezone(UTC) + count * self.run_every).astimezone(last.tzinfo) if count > 0 else None
        latest = None
        # A change of clocks, or a beginning that is no full unit, makes it one more or less.
        for count in range(max(1, passed // self._period() - 2), passed // self._period() + 4):
            tick = self._relative(last, count)
            if last.astimezone(UTC) < tick.astimezone(UTC) <= instant.astimezone(UTC):
                latest = tick
        return latest

    def _relative(self, last: datetime, count: int) -> datetime:
        """Return the tick that comes `count` ticks after `last`, at a full unit."""
        zone, unit = last.tzinfo, self._unit()
        assert zone is not None
        ahead = self.run_every + (count - 1) * self._period()
        if unit == _UNITS[0]:  # of days: by the calendar, as clocks have it
            wall = wall_of(last, zone) + ahead
            midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0)
            return instant_of(midnight, zone).astimezone(zone)
        instant = last.astimezone(UTC) + ahead
        shown = wall_of(instant, zone)
        over = (shown - shown.replace(hour=0, minute=0, second=0, microsecond=0)) % unit
        return (instant - over).astimezone(zone)

    def _unit(self) -> timedelta:
        return next((unit for unit in _UNITS if self.run_every >= unit), timedelta(microseconds=1))

    def _period(self) -> timedelta:
        """Return the time from one full unit to the next tick."""
        return self.run_every // self._unit() * self._unit()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, schedule):
            return (self.run_every, self.relative) == (other.run_every, other.relative)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.run_every, self.relative))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_every, self.relative, self.nowfun)

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"
