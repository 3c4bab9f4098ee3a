"""What all schedules share, and what a program's own schedule subclasses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from celeriac.client.current import current_app
from celeriac.core.schedules.cadence import latest_by_looking_back
from celeriac.exceptions import ParseException

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


class schedstate(NamedTuple):  # noqa: N801 - Celery's name
    """What `is_due` answers."""

    is_due: bool
    next: float
    """Seconds until it wants to be asked again."""


def zone_of(tz: str | tzinfo | None) -> tzinfo | None:
    """Return a zone by its name. Raises `ParseException` for a name that is none."""
    if not isinstance(tz, str):
        return tz
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ParseException(f"there is no time zone {tz!r}; write it as in Europe/Berlin") from None


class BaseSchedule:
    """A schedule of a program's own: subclass it, and write one of the two ways of saying when it is due.

    Ours is `next_after`, which says which tick follows an instant; asked with the same instant it answers the same, on any machine.
    Celery's is `is_due(last_run_at)` (with `remaining_estimate`), which is asked again and again, by the clock.

    Args:
        nowfun: returns the present time, for `is_due`; the app's clock if not given.
        app: the app whose clock and zone hold; the current one if not given.
    """

    _zone: tzinfo | None = None
    """Of the class: subclasses may set `tz` before they call `__init__`."""

    def __init__(self, nowfun: Callable[[], datetime] | None = None, app: Celeriac | None = None) -> None:
        self.nowfun = nowfun
        self._app = app

    # -- ours ---------------------------------------------------------------------------------------------------------

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first tick after an instant, both with a time zone; None: there is none any more.

        The zone of `instant` is the one in which a schedule reads the clock.
        """
        if type(self).remaining_estimate is BaseSchedule.remaining_estimate:
            raise NotImplementedError(f"{type(self).__name__} says neither next_after() nor is_due()")
        return self.now().astimezone(instant.tzinfo) + self.remaining_estimate(instant)

    def latest_until(self, last: datetime, instant: datetime) -> datetime | None:
        """Return the latest of the ticks after `last` that is not after `instant`; None when there is none."""
        return latest_by_looking_back(self.next_after, last, instant)

    # -- Celery's -----------------------------------------------------------------------------------------------------

    @property
    def app(self) -> Any:
        """The app whose clock and zone hold."""
        return self._app or current_app

    @app.setter
    def app(self, app: Celeriac) -> None:
        self._app = app

    @property
    def tz(self) -> tzinfo:
        """The zone in which times are read: its own, or the app's."""
        zone: tzinfo = self._zone or self.app.timezone
        return zone

    @tz.setter
    def tz(self, tz: str | tzinfo | None) -> None:
        self._zone = zone_of(tz)

    @property
    def own_zone(self) -> tzinfo | None:
        """The zone that it names itself."""
        return self._zone

    @property
    def utc_enabled(self) -> bool:
        """Whether messages tell times in UTC."""
        return bool(self.app.settings.enable_utc)

    def now(self) -> datetime:
        """Return the present time."""
        now: datetime = self.nowfun() if self.nowfun is not None else self.app.now()
        return now

    def to_local(self, dt: datetime) -> datetime:
        """Return a time in the zone of this schedule."""
        return self.maybe_make_aware(dt).astimezone(self.tz)

    def maybe_make_aware(self, dt: datetime) -> datetime:
        """Return a time with a zone: without one it is in UTC, or in the app's zone where `enable_utc` is off."""
        return dt if dt.tzinfo is not None else dt.replace(tzinfo=UTC if self.utc_enabled else self.tz)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it is to the tick after `last_run_at`; negative when that is over."""
        following = self.next_after(self.to_local(last_run_at))
        if following is None:
            return timedelta.max
        return following.astimezone(UTC) - self.maybe_make_aware(self.now()).astimezone(UTC)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Tell whether a tick is due, and after how many seconds to ask again."""
        left = self.remaining_estimate(last_run_at)
        if left > timedelta():
            return schedstate(False, left.total_seconds())
        return schedstate(True, max(self.remaining_estimate(self.now()).total_seconds(), 0.0))

    def __eq__(self, other: object) -> bool:
        return NotImplemented if not isinstance(other, BaseSchedule) else self is other

    def __hash__(self) -> int:
        return id(self)
