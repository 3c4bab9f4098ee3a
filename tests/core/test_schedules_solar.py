"""The sun: as Celery has it, and where it does not set."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import celery.schedules
import pytest

from celeriac.exceptions import ImproperlyConfigured, ParseException
from celeriac.schedules import solar

EVENTS = (
    "dawn_astronomical", "dawn_nautical", "dawn_civil", "sunrise", "solar_noon", "sunset", "dusk_civil",
    "dusk_nautical", "dusk_astronomical",
)  # fmt: skip


@pytest.mark.parametrize("event", EVENTS)
def test_as_celery_has_it(event: str) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    theirs = celery.schedules.solar(event, 40.7, -74.0, nowfun=lambda: now)
    expected = now + theirs.remaining_estimate(now)
    tick = solar(event, 40.7, -74.0).next_after(now)
    assert tick is not None
    assert abs(tick - expected) < timedelta(seconds=2)


def test_ticks_follow_each_other_day_by_day() -> None:
    sunset = solar("sunset", 52.5, 13.4)
    tick = sunset.next_after(datetime(2026, 1, 1, tzinfo=UTC))
    for _ in range(370):
        assert tick is not None
        following = sunset.next_after(tick)
        assert following is not None
        assert timedelta(hours=23, minutes=50) < following - tick < timedelta(hours=24, minutes=10)
        tick = following


def test_where_the_sun_does_not_rise_for_months() -> None:
    tick = solar("sunrise", 78.2, 15.6).next_after(datetime(2026, 11, 1, tzinfo=UTC))
    assert tick is not None
    assert (tick.year, tick.month) == (2027, 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("moonrise", 0, 0), "no event 'moonrise'; there are dawn_astronomical"),
        (("sunset", 91, 0), "latitude 91"),
        (("sunset", 0, -181), "longitude -181"),
    ],
)
def test_what_cannot_be_is_told(arguments: tuple[str, float, float], told: str) -> None:
    with pytest.raises(ParseException, match=told):
        solar(*arguments)


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ephem", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'celeriac\[solar\]'"):
        solar("sunset", 0, 0)
