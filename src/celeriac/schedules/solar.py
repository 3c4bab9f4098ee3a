"""The schedule that follows the sun; reckoned by the library `ephem`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from celeriac.exceptions import ImproperlyConfigured, ParseException
from celeriac.schedules.base import BaseSchedule

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

_HORIZONS: Final = {
    "dawn_astronomical": ("rising", "-18", True),
    "dawn_nautical": ("rising", "-12", True),
    "dawn_civil": ("rising", "-6", True),
    "sunrise": ("rising", "-0:34", False),
    "solar_noon": ("transit", "0", False),
    "sunset": ("setting", "-0:34", False),
    "dusk_civil": ("setting", "-6", True),
    "dusk_nautical": ("setting", "-12", True),
    "dusk_astronomical": ("setting", "-18", True),
}
"""Event -> what the sun does, at which height above the horizon, and whether its middle is meant and not its rim."""
_DAYS_AHEAD: Final = 366
"""Beyond the polar circles the sun may not rise, or not set, for half a year."""


class solar(BaseSchedule):  # noqa: N801 - Celery's name
    """Ticks when the sun does something at a place; needs `celeriac[solar]`.

    Args:
        event: dawn_astronomical, dawn_nautical, dawn_civil, sunrise, solar_noon, sunset, dusk_civil, dusk_nautical or
            dusk_astronomical.
        lat, lon: degrees; north and east are positive.
        nowfun, app: see `BaseSchedule`.

    A day without the event is left out.  Raises `ParseException`, a `ValueError`, and `ImproperlyConfigured` without `ephem`.
    """

    _all_events = frozenset(_HORIZONS)
    """Under this name django-celery-beat looks for them."""

    def __init__(
        self,
        event: str,
        lat: float,
        lon: float,
        nowfun: Callable[[], datetime] | None = None,
        app: Celeriac | None = None,
    ) -> None:
        super().__init__(nowfun, app)
        if event not in _HORIZONS:
            raise ParseException(f"the sun knows no event {event!r}; there are {', '.join(_HORIZONS)}")
        if not -90 <= lat <= 90:
            raise ParseException(f"latitude {lat!r}: it goes from -90 to 90 degrees")
        if not -180 <= lon <= 180:
            raise ParseException(f"longitude {lon!r}: it goes from -180 to 180 degrees")
        self._ephem = _import_ephem()
        self.event = event
        self.lat = lat
        self.lon = lon

    def next_after(self, instant: datetime) -> datetime | None:
        """Return when the event comes next after an instant."""
        ephem = self._ephem
        what, horizon, use_center = _HORIZONS[self.event]
        place = ephem.Observer()
        place.lat, place.lon, place.elevation, place.pressure = str(self.lat), str(self.lon), 0, 0
        place.horizon = horizon
        # `ephem` reckons to the millisecond or so: the event that it was asked to follow must not be found once more.
        start = instant.astimezone(UTC) + timedelta(seconds=1)
        for days in range(_DAYS_AHEAD):
            place.date = ephem.Date(start.replace(tzinfo=None) + timedelta(days=days))
            try:
                if what == "transit":
                    found = place.next_transit(ephem.Sun())
                else:
                    search = place.next_rising if what == "rising" else place.next_setting
                    found = search(ephem.Sun(), use_center=use_center)
            except ephem.CircumpolarError:
                continue
            tick: datetime = found.datetime().replace(tzinfo=UTC, microsecond=0) + timedelta(seconds=1)
            return tick.astimezone(instant.tzinfo)
        return None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, solar):
            return (self.event, self.lat, self.lon) == (other.event, other.lat, other.lon)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.event, self.lat, self.lon))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.event, self.lat, self.lon)

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"


def _import_ephem() -> Any:
    try:
        import ephem
    except ImportError:
        raise ImproperlyConfigured(
            "solar schedules need the library ephem: install it with pip install 'celeriac[solar]'"
        ) from None
    return ephem
