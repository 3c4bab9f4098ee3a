"""Crontabs: next ticks against brute force in every time zone, and against real Celery where it is right."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo, available_timezones

import celery.schedules
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.core.schedules.cron import Cron
from celeriac.core.schedules.walls import instant_of
from celeriac.exceptions import ParseException
from celeriac.schedules import crontab, crontab_parser

ZONES = sorted(available_timezones() - {"localtime"})
MINUTE = timedelta(minutes=1)
ALL_DAYS = tuple(range(1, 32))

Ticks = list[datetime]


def numbers(low: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
    some = st.sets(st.integers(low, high), min_size=1, max_size=4).map(lambda found: tuple(sorted(found)))
    return st.one_of(some, st.just(tuple(range(low, high + 1))))


crons = st.builds(Cron, numbers(0, 59), numbers(0, 23), numbers(0, 6), numbers(1, 31), numbers(1, 12))
moments = st.integers(86_400, 2_143_238_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def changes(zone: ZoneInfo, year: int) -> list[datetime]:
    """Return the ends of those hours of a year in which clocks are changed."""
    days = _changed(zone, [datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(367)])
    return [
        hour for day in days for hour in _changed(zone, [day - timedelta(hours=back) for back in range(24, -1, -1)])
    ]


def _changed(zone: ZoneInfo, moments: list[datetime]) -> list[datetime]:
    offsets = [moment.astimezone(zone).utcoffset() for moment in moments]
    return [moment for moment, before, after in zip(moments[1:], offsets, offsets[1:], strict=False) if before != after]


def by_trying(cron: Cron, zone: ZoneInfo, begin: datetime, end: datetime) -> Ticks:
    """Return all ticks in (begin, end], found by looking at each minute, on the wall and in UTC."""
    fits = {"m": set(cron.minutes), "h": set(cron.hours)}

    def matches(wall: datetime) -> bool:
        return (
            wall.second == 0
            and wall.minute in fits["m"]
            and wall.hour in fits["h"]
            and wall.day in cron.days
            and wall.month in cron.months
            and wall.isoweekday() % 7 in cron.weekdays
        )

    found: set[datetime] = set()
    if len(cron.hours) == 24:
        minute = begin.replace(second=0, microsecond=0)
        while minute <= end:
            if matches(minute.astimezone(zone).replace(tzinfo=None)):
                found.add(minute)
            minute += MINUTE
    else:
        wall = (begin - timedelta(days=2)).astimezone(zone).replace(tzinfo=None, second=0, microsecond=0)
        while wall.replace(tzinfo=UTC) <= end + timedelta(days=2):
            if matches(wall):
                found.add(instant_of(wall, zone))
            wall += MINUTE
    return sorted(tick for tick in found if begin < tick <= end)


def by_reckoning(cron: Cron, zone: ZoneInfo, begin: datetime, end: datetime) -> Ticks:
    found = []
    tick = cron.next_after(begin.astimezone(zone))
    while tick is not None and (instant := tick.astimezone(UTC)) <= end:
        found.append(instant)
        tick = cron.next_after(tick)
    return found


@pytest.mark.parametrize("hours", [tuple(range(24)), (0, 1, 2, 3, 23)], ids=["every hour", "some hours"])
@pytest.mark.parametrize("part", range(4))
def test_around_each_change_of_clocks_in_every_zone(part: int, hours: tuple[int, ...]) -> None:
    cron = Cron((0, 17, 30), hours, tuple(range(7)), ALL_DAYS, tuple(range(1, 13)))
    seen = set()
    for name in ZONES[part::4]:
        zone = ZoneInfo(name)
        for change in changes(zone, 2024):
            kind = (change, change.astimezone(zone).utcoffset())
            if kind in seen:
                continue  # another name of the same clocks
            seen.add(kind)
            begin, end = change - timedelta(hours=3), change + timedelta(hours=4)
            assert by_reckoning(cron, zone, begin, end) == by_trying(cron, zone, begin, end), (name, change)


@settings(max_examples=80, deadline=None)
@given(crons, st.sampled_from(ZONES), st.integers(1970, 2037), st.integers(0, 5), st.integers(-90_000, 90_000))
def test_near_changes_it_is_what_trying_each_minute_finds(
    cron: Cron, name: str, year: int, index: int, seconds: int
) -> None:
    zone = ZoneInfo(name)
    near = changes(zone, year) or [datetime(year, 6, 1, tzinfo=UTC)]
    begin = near[index % len(near)] + timedelta(seconds=seconds)
    end = begin + timedelta(days=1)
    assert by_reckoning(cron, zone, begin, end) == by_trying(cron, zone, begin, end)


@settings(max_examples=300, deadline=None)
@given(crons, st.sampled_from(ZONES), moments)
def test_the_next_tick_comes_later_and_nothing_lies_between(cron: Cron, name: str, moment: datetime) -> None:
    zone = ZoneInfo(name)
    tick = cron.next_after(moment.astimezone(zone))
    if tick is None:
        assert not any(day <= 29 for day in cron.days) or 2 in cron.months
        return
    instant = tick.astimezone(UTC)
    assert instant > moment
    before = instant - (instant - moment) / 2
    assert cron.next_after(before.astimezone(zone)) == tick


@settings(max_examples=200, deadline=None)
@given(crons, moments)
def test_as_celery_has_it_in_utc(cron: Cron, moment: datetime) -> None:
    theirs = celery.schedules.crontab(
        minute=set(cron.minutes),
        hour=set(cron.hours),
        day_of_week=set(cron.weekdays),
        day_of_month=set(cron.days) | {1},
        month_of_year=set(cron.months),
        nowfun=lambda: moment,
    )
    theirs.tz = UTC
    cron = Cron(cron.minutes, cron.hours, cron.weekdays, tuple(sorted({*cron.days, 1})), cron.months)
    # Celery takes the seconds of the last run along: asked at a full minute both mean the same.
    moment = moment.replace(second=0, microsecond=0)
    start, ends_in, _ = theirs.remaining_delta(moment)
    assert cron.next_after(moment) == start + ends_in


def test_a_skipped_time_runs_at_the_end_of_what_is_skipped() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    tick = crontab(30, 2).next_after(datetime(2026, 3, 28, 12, tzinfo=berlin))
    assert tick is not None
    assert tick.isoformat() == "2026-03-29T03:00:00+02:00"
    assert crontab("*/10", 2).next_after(tick) == datetime(2026, 3, 30, 2, tzinfo=berlin)


def test_a_time_that_comes_twice_runs_the_first_time() -> None:
    begin = datetime(2026, 10, 24, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert listed(crontab(30, 2), begin, 2) == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]


def test_every_hour_means_both_of_two_that_look_alike() -> None:
    begin = datetime(2026, 10, 25, 1, 45, tzinfo=ZoneInfo("Europe/Berlin"))
    assert listed(crontab(30), begin, 3) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:30:00+01:00",
    ]


def test_a_day_that_was_skipped_runs_at_its_end() -> None:
    begin = datetime(2011, 12, 29, 12, tzinfo=ZoneInfo("Pacific/Apia"))
    assert listed(crontab(0, 8), begin, 2) == ["2011-12-31T00:00:00+14:00", "2011-12-31T08:00:00+14:00"]


class ZoneFirst(crontab):
    """A subclass as django-celery-beat's, which sets its zone before all else."""

    def __init__(self, minute: str, tz: ZoneInfo) -> None:
        self.tz = tz
        super().__init__(minute, 9, nowfun=lambda: datetime(2026, 1, 1, tzinfo=tz))


def test_a_subclass_may_set_the_zone_itself_and_ask_as_celery_does() -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    schedule = ZoneFirst("30", tokyo)
    begin = datetime(2026, 1, 1, tzinfo=tokyo)
    assert schedule._orig_minute == "30"
    assert schedule.next_after(begin.astimezone(UTC)) == datetime(2026, 1, 1, 9, 30, tzinfo=tokyo)
    assert schedule.remaining_delta(begin) == (begin, timedelta(hours=9, minutes=30), begin)
    assert schedule.remaining_estimate(begin) == timedelta(hours=9, minutes=30)
    assert schedule.is_due(begin) == (False, 34_200)
    assert schedule.is_due(begin - timedelta(days=1)) == (True, 34_200)


def test_a_crontab_may_name_its_zone() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    assert listed(crontab(0, 9, tz="Asia/Tokyo"), begin, 1) == ["2026-01-02T09:00:00+09:00"]
    with pytest.raises(ParseException, match="no time zone 'Mars/Base'"):
        crontab(tz="Mars/Base")


def listed(schedule: crontab, begin: datetime, count: int) -> list[str]:
    found = []
    tick = schedule.next_after(begin)
    for _ in range(count):
        assert tick is not None
        found.append(tick.isoformat())
        tick = schedule.next_after(tick)
    return found


SPECS = ["*", "*/7", "1-5", "1,3,5", "5-1", "2-6/2", "*/2,5", "mon", "sun-tue", "Monday,fri", "6"]


@pytest.mark.parametrize("spec", SPECS)
def test_fields_mean_what_celery_takes_them_for(spec: str) -> None:
    assert crontab_parser(7).parse(spec) == celery.schedules.crontab_parser(7).parse(spec)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([(60, 0), (24, 0), (31, 1), (12, 1)]), st.data())
def test_numbers_ranges_and_steps_mean_what_celery_takes_them_for(size: tuple[int, int], data: st.DataObject) -> None:
    number = st.integers(size[1], size[0] + size[1] - 1).map(str)
    step = st.integers(1, 70).map(lambda n: f"/{n}")
    span = st.builds(lambda low, high, by: f"{low}-{high}{by}", number, number, st.one_of(st.just(""), step))
    star = st.one_of(st.just(""), step).map(lambda by: f"*{by}")
    spec = data.draw(st.lists(st.one_of(number, span, star), min_size=1, max_size=3).map(",".join))
    assert crontab_parser(*size).parse(spec) == celery.schedules.crontab_parser(*size).parse(spec)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("", "empty part"),
        ("1,,2", "empty part"),
        ("61", "out of range, which goes from 0 to 59"),
        ("*/0", "'0' is no step"),
        ("*/x", "'x' is no step"),
        ("5/10", "write 5-59/10"),
        ("mon", "'mon' is no number from 0 to 59"),
        ("-5", "'' is no number"),
    ],
)
def test_what_cannot_be_read_is_told(spec: str, told: str) -> None:
    with pytest.raises(ParseException, match=f"minute: .*{told}"):
        crontab(minute=spec)


def test_a_day_that_never_comes_and_other_types_are_errors() -> None:
    with pytest.raises(ValueError, match="never comes"):
        crontab(day_of_month="30,31", month_of_year="feb")
    with pytest.raises(TypeError, match="a number, numbers or a text"):
        crontab(minute=1.5)  # type: ignore[arg-type]
    with pytest.raises(
        ParseException, match=r"minute: .*; a whole line of cron is read by crontab\.from_string\('0 4 "
    ):
        crontab("0 4 * * mon-fri")
    with pytest.raises(ParseException, match="4 fields; wanted are 5"):
        crontab.from_string("* * * *")
    assert crontab(0, 0, day_of_month=31, day_of_week=0).next_after(datetime(9999, 12, 31, tzinfo=UTC)) is None


def test_a_line_of_cron_and_back() -> None:
    line = "*/5 9-17 1,15 jan-mar mon-fri"
    read = crontab.from_string(line, tz="Europe/Berlin")
    assert read.line() == line
    assert read.hour == set(range(9, 18))
    assert read.day_of_week == {1, 2, 3, 4, 5}
    assert read.month_of_year == {1, 2, 3}
    again = pickle.loads(pickle.dumps(read))
    assert again == read
    assert hash(again) == hash(read)
    assert repr(again) == f"<crontab: {line} (m/h/dM/MY/d) Europe/Berlin>"
    assert crontab(day_of_week=7) == crontab(day_of_week="sun") != crontab()


@settings(max_examples=100, deadline=None)
@given(crons, st.sampled_from(ZONES), moments, st.integers(0, 3 * 86_400))
def test_the_latest_of_what_was_missed(cron: Cron, name: str, moment: datetime, seconds: int) -> None:
    zone = ZoneInfo(name)
    schedule = crontab(cron.minutes, cron.hours, cron.weekdays, (*cron.days, 1), cron.months)
    end = moment + timedelta(seconds=seconds)
    ticks = []
    tick = schedule.next_after(moment.astimezone(zone))
    while tick is not None and tick.astimezone(UTC) <= end:
        ticks.append(tick)
        tick = schedule.next_after(tick)
    assert schedule.latest_until(moment.astimezone(zone), end.astimezone(zone)) == (ticks[-1] if ticks else None)
    assert list(takewhile(lambda one: one.astimezone(UTC) <= end, ticks)) == ticks
