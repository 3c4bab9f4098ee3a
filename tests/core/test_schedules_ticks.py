"""Which tick is sent: misfires, limits, jitter; and intervals, full units included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.schedules.cadence import Zoned
from celeriac.core.schedules.ticks import Rule, Send, Skip, Wait, due_at, look
from celeriac.exceptions import ParseException
from celeriac.schedules import crontab, schedule

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def after(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def every(seconds: float, *, relative: bool = False, zone: tzinfo = UTC) -> Zoned:
    return Zoned(schedule(seconds, relative), zone)


def test_what_is_not_due_is_waited_for() -> None:
    assert look("e", every(10), BEGIN, after(9.9), Rule()) == Wait(after(10))
    assert look("e", every(10), BEGIN, after(10), Rule()) == Send(after(10))


def test_what_was_missed_is_sent_once_left_out_or_sent_one_by_one() -> None:
    now = after(47)
    assert look("e", every(10), BEGIN, now, Rule("once")) == Send(after(40))
    assert look("e", every(10), BEGIN, now, Rule("all")) == Send(after(10))
    assert look("e", every(10), BEGIN, now, Rule("skip", limit_s=5)) == Skip(after(40))
    assert look("e", every(10), BEGIN, now, Rule("skip", limit_s=7)) == Send(after(40))


def test_the_limit_of_all_leaves_out_what_is_older() -> None:
    assert look("e", every(10), BEGIN, after(47), Rule("all", limit_s=20)) == Skip(after(20))
    assert look("e", every(10), after(20), after(47), Rule("all", limit_s=20)) == Send(after(30))


@given(st.floats(0.1, 100), st.integers(0, 10_000), st.text(max_size=5))
def test_jitter_is_the_same_for_all_who_ask(jitter_s: float, tick: int, name: str) -> None:
    due = due_at(name, after(tick), jitter_s)
    assert due == due_at(name, after(tick), jitter_s)
    assert after(tick) <= due <= after(tick + jitter_s)


def test_jitter_differs_by_entry_and_tick_and_is_waited_for() -> None:
    late = {due_at(name, after(tick), 60) - after(tick) for name in "abc" for tick in range(0, 100, 10)}
    assert len(late) == 30
    due = due_at("e", after(100), 60)
    assert look("e", every(100), BEGIN, after(100), Rule(jitter_s=60)) == Wait(due)
    assert look("e", every(100), BEGIN, due, Rule(jitter_s=60)) == Send(after(100))


@given(st.integers(1, 50), st.floats(0, 30), st.integers(0, 3000))
def test_what_is_sent_is_due_and_the_latest_that_is(seconds: int, jitter_s: float, now_s: int) -> None:
    found = look("e", every(seconds), BEGIN, after(now_s), Rule(jitter_s=jitter_s))
    due = [tick for tick in range(seconds, now_s + 1, seconds) if due_at("e", after(tick), jitter_s) <= after(now_s)]
    first_due = due_at("e", after(seconds), jitter_s) <= after(now_s)
    assert found == (Send(after(due[-1])) if first_due else Wait(due_at("e", after(seconds), jitter_s)))


def test_in_the_hour_that_comes_twice_nothing_is_sent_twice_and_nothing_late() -> None:
    begin = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 in Berlin, the first time
    half_past = Zoned(crontab(30), BERLIN)
    assert look("e", half_past, begin, begin + timedelta(minutes=59), Rule()) == Wait(begin + timedelta(hours=1))
    assert look("e", half_past, begin, begin + timedelta(hours=1), Rule()) == Send(begin + timedelta(hours=1))
    daily = Zoned(crontab(30, 2), BERLIN)
    assert look("e", daily, begin, begin + timedelta(hours=3), Rule()) == Wait(begin + timedelta(hours=25))


def test_an_interval_is_real_time_whatever_clocks_do() -> None:
    begin = datetime(2026, 3, 28, 12, tzinfo=BERLIN)
    tick = schedule(timedelta(days=1)).next_after(begin)
    assert tick is not None
    assert tick.isoformat() == "2026-03-29T13:00:00+02:00"


@pytest.mark.parametrize(
    ("run_every", "begin", "ticks"),
    [
        (timedelta(days=1), "2026-03-28T15:30:07+01:00", ["2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"]),
        (timedelta(days=2), "2026-03-28T15:30:07+01:00", ["2026-03-30T00:00:00+02:00", "2026-04-01T00:00:00+02:00"]),
        (timedelta(hours=1), "2026-03-29T01:30:00+01:00", ["2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"]),
        (timedelta(minutes=5), "2026-01-01T10:02:33+01:00", ["2026-01-01T10:07:00+01:00", "2026-01-01T10:12:00+01:00"]),
    ],
)
def test_relative_ticks_come_at_full_units(run_every: timedelta, begin: str, ticks: list[str]) -> None:
    full = schedule(run_every, relative=True)
    tick: datetime | None = datetime.fromisoformat(begin).astimezone(BERLIN)
    for expected in ticks:
        assert tick is not None
        tick = full.next_after(tick)
        assert tick is not None
        assert tick.isoformat() == expected


@given(
    st.sampled_from([1, 5, 60, 90, 3600, 5400, 86_400, 2 * 86_400]),
    st.integers(0, 400 * 86_400),
    st.integers(0, 40),
    st.sampled_from([UTC, BERLIN, ZoneInfo("Asia/Kathmandu"), ZoneInfo("Australia/Lord_Howe")]),
)
def test_the_latest_relative_tick_is_what_counting_finds(
    run_every: int, start: int, periods: int, zone: tzinfo
) -> None:
    cadence = every(run_every, relative=True, zone=zone)
    begin = after(start + 0.5)
    end = begin + timedelta(seconds=run_every) * periods
    latest, tick = None, cadence.next_after(begin)
    while tick is not None and tick <= end:
        latest, tick = tick, cadence.next_after(tick)
    assert cadence.latest_until(begin, end) == latest


@pytest.mark.parametrize("given_interval", [0, -1, "x", None])
def test_an_interval_is_longer_than_nothing(given_interval: object) -> None:
    with pytest.raises(ParseException, match="interval"):
        schedule(given_interval)  # type: ignore[arg-type]
