"""Rates are read as Celery reads them, and starts never come closer than they say, whatever the order in which is asked."""

from __future__ import annotations

import heapq
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.rates import Pace, interval_of, take_turn

NEAR_S, HORIZON_S = 0.25, 60.0


@pytest.mark.parametrize(
    ("rate", "interval_s"),
    [
        ("10/m", 6.0),
        ("100/h", 36.0),
        ("5/s", 0.2),
        ("5", 0.2),
        (" 5 / s ", 0.2),
        ("0.5/m", 120.0),
        (3.5, 1 / 3.5),
        (4, 0.25),
        (None, None),
        ("", None),
        (0, None),
        ("0", None),
        ("0/m", None),
    ],
)
def test_rates_are_read_as_celery_reads_them(rate: Any, interval_s: float | None) -> None:
    assert interval_of(rate) == pytest.approx(interval_s)


@pytest.mark.parametrize("rate", ["fast", "10/d", "10/", "-1/s", -1, "nan", "inf", True, [], "1/h/m", "1e-9/h"])
def test_what_is_no_rate_is_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match=r"is no rate|is slower"):
        interval_of(rate)


def run_all(
    arrivals: list[float], interval_s: float, delays: random.Random, jitter_s: float, away_until: float = 0.0
) -> list[tuple[float, int]]:
    """Ask for everybody as workers do, who come back from a delay some time after they should; return (start, who)."""
    pace, starts = Pace(), []
    asking: list[tuple[float, int, float | None]] = [(at, who, None) for who, at in enumerate(arrivals)]
    heapq.heapify(asking)
    while asking:
        now, who, slot = heapq.heappop(asking)
        turn = take_turn(pace, interval_s, slot, now, NEAR_S, HORIZON_S)
        if turn.starts:
            assert now <= turn.at <= now + NEAR_S
            starts.append((turn.at, who))
        else:
            assert turn.at > now
            back_at = max(now, turn.at - 0.1) + delays.uniform(0.0, jitter_s)
            heapq.heappush(asking, (max(back_at, away_until), who, turn.slot))
    return sorted(starts)


@given(
    arrivals=st.lists(st.floats(0, 20), min_size=2, max_size=60),
    interval_s=st.sampled_from([0.001, 0.05, 0.3, 2.0, 90.0]),
    jitter_s=st.sampled_from([0.001, 0.05, 1.0]),
    seed=st.integers(),
)
def test_no_two_starts_are_closer_than_the_interval(
    arrivals: list[float], interval_s: float, jitter_s: float, seed: int
) -> None:
    starts = run_all(arrivals, interval_s, random.Random(seed), jitter_s)
    assert len(starts) == len(arrivals)
    assert sorted(who for _, who in starts) == list(range(len(arrivals)))
    for (one, _), (other, _) in pairwise(starts):
        assert other - one >= interval_s - 1e-9


@pytest.mark.parametrize(("count", "interval_s", "jitter_s"), [(300, 0.1, 0.05), (2000, 0.001, 0.05), (300, 0.05, 0.2)])
def test_the_rate_is_used_up_while_somebody_waits(count: int, interval_s: float, jitter_s: float) -> None:
    starts = run_all([0.0] * count, interval_s, random.Random(1), jitter_s)
    assert starts[-1][0] <= 1.05 * count * interval_s


def test_reservations_keep_the_order() -> None:
    starts = run_all([0.0] * 200, 0.1, random.Random(1), 0.05)
    assert [who for _, who in starts] == list(range(200))


def test_slots_missed_by_all_do_not_make_a_burst() -> None:
    starts = run_all([0.0] * 300, 0.1, random.Random(1), 0.05, away_until=20.0)
    late = [at for at, _ in starts if at >= 20.0]
    assert len(late) >= 290
    assert min(other - one for one, other in pairwise(late)) >= 0.1 - 1e-9
    assert late[-1] <= 20.0 + 1.1 * 300 * 0.1


def test_beyond_the_horizon_nothing_is_reserved() -> None:
    pace = Pace()
    assert take_turn(pace, 3600.0, None, 100.0, NEAR_S, HORIZON_S).starts
    later = take_turn(pace, 3600.0, None, 101.0, NEAR_S, HORIZON_S)
    assert (later.starts, later.at, later.slot) == (False, 161.0, None)


def test_a_changed_rate_holds_at_once() -> None:
    pace = Pace()
    assert take_turn(pace, 60.0, None, 100.0, NEAR_S, HORIZON_S).starts
    assert take_turn(pace, 60.0, None, 100.0, NEAR_S, HORIZON_S).slot == 160.0
    assert take_turn(pace, 0.5, None, 101.0, NEAR_S, HORIZON_S).starts
    assert not pace.is_forgotten(101.4)
    assert pace.is_forgotten(101.5)
