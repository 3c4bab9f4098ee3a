"""`celery.utils.time`: time zones, dates and durations."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

__all__ = [
    "get_exponential_backoff_interval",
    "humanize_seconds",
    "is_naive",
    "localize",
    "make_aware",
    "maybe_iso8601",
    "maybe_make_aware",
    "maybe_timedelta",
    "parse_iso8601",
    "rate",
    "timezone",
    "to_utc",
]

FIVE_MINUTES_S: Final = 300
_A_SECOND: Final = {"s": 1, "m": 60, "h": 3600}
_SPANS: Final = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"), (1.0, "second"))


class Zones:
    """`timezone`: finds zones."""

    utc = UTC

    @property
    def local(self) -> tzinfo:
        """The machine's zone."""
        return datetime.now(UTC).astimezone().tzinfo or UTC

    def tz_or_local(self, tzinfo: Any = None) -> tzinfo:
        """Return the zone of this name, or the machine's."""
        return self.local if tzinfo is None else self.get_timezone(tzinfo)

    def get_timezone(self, zone: Any) -> tzinfo:
        """Return the zone of this name; a zone as it is. Raises `ZoneInfoNotFoundError`."""
        return ZoneInfo(zone) if isinstance(zone, str) else zone

    def to_local(self, dt: datetime, local: Any = None, orig: Any = None) -> datetime:
        """Return a time in the zone `local`; one without a zone is in `orig`, or UTC."""
        return make_aware(dt, orig or UTC).astimezone(self.tz_or_local(local))

    def to_system(self, dt: datetime) -> datetime:
        """Return a time in the machine's zone."""
        return dt.astimezone(self.local)


timezone: Final = Zones()


def is_naive(dt: datetime) -> bool:
    """Tell whether a time has no zone."""
    return dt.tzinfo is None or dt.tzinfo.utcoffset(dt) is None


def make_aware(dt: datetime, tz: tzinfo) -> datetime:
    """Give a time without a zone this one; one that has a zone is moved to it."""
    return dt.replace(tzinfo=tz) if is_naive(dt) else dt.astimezone(tz)


def maybe_make_aware(dt: datetime, tz: tzinfo | None = None, naive_as_utc: bool = True) -> datetime:
    """Give a time without a zone this one, or UTC; leave others as they are."""
    return make_aware(dt, tz or (UTC if naive_as_utc else timezone.local)) if is_naive(dt) else dt


def localize(dt: datetime, tz: tzinfo) -> datetime:
    """Return a time in another zone."""
    return dt.astimezone(tz)


def to_utc(dt: datetime) -> datetime:
    """Return a time in UTC; one without a zone is taken for UTC."""
    return make_aware(dt, UTC)


def maybe_timedelta(delta: Any) -> Any:
    """Take a number for seconds; all else as it is."""
    return timedelta(seconds=delta) if isinstance(delta, int | float) else delta


def parse_iso8601(datestring: str) -> datetime:
    """Read a date and time. Raises `ValueError`."""
    return datetime.fromisoformat(datestring)


def maybe_iso8601(dt: Any) -> Any:
    """Read a text as date and time; all else as it is. Raises `ValueError`."""
    return parse_iso8601(dt) if isinstance(dt, str) else dt


def rate(r: Any) -> float:
    """Return a rate as a number a second: `10/m`, `100/h`, or a number; 0 for none."""
    if not isinstance(r, str):
        return float(r or 0)
    number, _, unit = r.partition("/")
    return float(number) / _A_SECOND[unit or "s"]


def humanize_seconds(secs: float, prefix: str = "", sep: str = "", now: str = "now", microseconds: bool = False) -> str:
    """Say how long some seconds are, in the largest unit that fits: 4 minutes as "4.00 minutes"."""
    for span, unit in _SPANS:
        if secs >= span:
            count = float(secs) / span
            return f"{prefix}{sep}{count:.2f} {unit}{'' if count == 1 else 's'}"
    if microseconds and secs > 0.0:
        return f"{prefix}{sep}{secs:.2f} seconds"
    return now


def get_exponential_backoff_interval(factor: float, retries: int, maximum: float, full_jitter: bool = False) -> float:
    """Return the seconds to wait before a retry; with `full_jitter` a random part of them."""
    countdown = min(maximum, factor * 2**retries)
    return max(0, random.randrange(int(countdown) + 1) if full_jitter else countdown)
