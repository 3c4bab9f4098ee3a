"""The schedule that is read off the clock: crontab."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final

from celeriac.core.schedules.cron import Cron
from celeriac.core.schedules.fields import Field, Spec
from celeriac.exceptions import ParseException
from celeriac.schedules.base import BaseSchedule

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

_FIELDS: Final = (
    ("minute", Field(60)),
    ("hour", Field(24)),
    ("day_of_week", Field(7)),
    ("day_of_month", Field(31, 1)),
    ("month_of_year", Field(12, 1)),
)
_LONGEST_MONTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class crontab_parser:  # noqa: N801 - Celery's name
    """Reads one field of a crontab that takes `max_` numbers from `min_` on: `crontab_parser(60).parse("*/15")`."""

    ParseException = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        self.max_ = max_
        self.min_ = min_

    def parse(self, spec: str) -> set[int]:
        """Return the numbers that a text means. Raises `ParseException`."""
        return Field(self.max_, self.min_).parse(spec)


class crontab(BaseSchedule):  # noqa: N801 - Celery's name
    """Ticks at times that clocks show, to the minute; a day has to fit all three of its fields.

    Each field takes a number, a list of numbers, or a text as cron has it: `*`, `*/15`, `9-17`, `9-17/2`, `mon,wed-fri`, `jan-mar`.

    Args:
        minute, hour, day_of_week, day_of_month, month_of_year: the fields; Sunday is 0 (or 7), January is 1.
        tz: the zone whose clocks are meant, by its name or as a `tzinfo`; the app's (setting `timezone`) if not given.
        nowfun, app: see `BaseSchedule`.

    Where clocks are changed: a time that is skipped runs at the end of what is skipped, one that comes twice runs the first time; with
    `hour="*"` it runs in both of two hours that look alike.  Raises `ParseException`, a `ValueError`, or `TypeError`.
    """

    def __init__(
        self,
        minute: Spec = "*",
        hour: Spec = "*",
        day_of_week: Spec = "*",
        day_of_month: Spec = "*",
        month_of_year: Spec = "*",
        *,
        tz: str | tzinfo | None = None,
        nowfun: Callable[[], datetime] | None = None,
        app: Celeriac | None = None,
    ) -> None:
        super().__init__(nowfun, app)
        fields = (minute, hour, day_of_week, day_of_month, month_of_year)
        given = tuple(one if isinstance(one, str) or not isinstance(one, Iterable) else tuple(one) for one in fields)
        # Packages written for Celery (django-celery-beat, sentry-sdk) read the fields as they were given under these names.
        self._orig_minute, self._orig_hour, self._orig_day_of_week, *others = given
        self._orig_day_of_month, self._orig_month_of_year = others
        read = [_read(name, field, one) for (name, field), one in zip(_FIELDS, given, strict=True)]
        self._cron = Cron(*read)
        if tz is not None:
            self.tz = tz
        if not any(day <= _LONGEST_MONTHS[month - 1] for month in self._cron.months for day in self._cron.days):
            raise ParseException(f"crontab: day {day_of_month!r} never comes in month {month_of_year!r}")

    @classmethod
    def from_string(cls, crontab: str, **kwargs: Any) -> crontab:
        """Return the crontab that a line of cron means: minute, hour, day of month, month, day of week.

        `crontab.from_string("*/5 9-17 * * mon-fri")`.  Raises as the class.
        """
        parts = crontab.split()
        if len(parts) != len(_FIELDS):
            raise ParseException(
                f"crontab {crontab!r} has {len(parts)} fields; wanted are 5: minute, hour, day of month, month, day of week"
            )
        minute, hour, day_of_month, month_of_year, day_of_week = parts
        return cls(minute, hour, day_of_week, day_of_month, month_of_year, **kwargs)

    @property
    def minute(self) -> set[int]:
        """The minutes."""
        return set(self._cron.minutes)

    @property
    def hour(self) -> set[int]:
        """The hours."""
        return set(self._cron.hours)

    @property
    def day_of_week(self) -> set[int]:
        """The days of the week, Sunday is 0."""
        return set(self._cron.weekdays)

    @property
    def day_of_month(self) -> set[int]:
        """The days of the month."""
        return set(self._cron.days)

    @property
    def month_of_year(self) -> set[int]:
        """The months."""
        return set(self._cron.months)

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first tick after an instant; by the clocks of its zone, if the crontab names none itself."""
        return self._cron.next_after(instant if self._zone is None else instant.astimezone(self._zone))

    def remaining_delta(self, last_run_at: datetime, tz: tzinfo | None = None) -> tuple[datetime, timedelta, datetime]:
        """Return a time in the crontab's zone (or `tz`), how long it is from there to the next tick, and the present."""
        last = self.maybe_make_aware(last_run_at).astimezone(tz or self.tz)
        following = self.next_after(last)
        ahead = timedelta.max if following is None else following.astimezone(UTC) - last.astimezone(UTC)
        return last, ahead, self.to_local(self.now())

    @property
    def _given(self) -> tuple[Any, ...]:
        days = (self._orig_day_of_week, self._orig_day_of_month, self._orig_month_of_year)
        return self._orig_minute, self._orig_hour, *days

    def line(self) -> str:
        """Return it as a line of cron."""
        minute, hour, day_of_week, day_of_month, month_of_year = map(_text, self._given)
        return f"{minute} {hour} {day_of_month} {month_of_year} {day_of_week}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, crontab):
            return (self._cron, str(self._zone)) == (other._cron, str(other._zone))
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self._cron, str(self._zone)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self._given, self._zone)

    def __repr__(self) -> str:
        zone = "" if self._zone is None else f" {self._zone}"
        return f"<crontab: {self.line()} (m/h/dM/MY/d){zone}>"


def _read(name: str, field: Field, given: Any) -> tuple[int, ...]:
    try:
        return field.expand(given)
    except ParseException as error:
        is_line = isinstance(given, str) and len(given.split()) == len(_FIELDS)
        cure = f"; a whole line of cron is read by crontab.from_string({given!r})" if is_line else ""
        raise ParseException(f"{name}: {error}{cure}") from None


def _text(given: Any) -> str:
    return ",".join(map(str, given)) if isinstance(given, tuple) else str(given).replace(" ", "")


def _rebuilt(kind: type[crontab], given: tuple[Any, ...], zone: tzinfo | None) -> crontab:
    return kind(*given, tz=zone)
