"""How many executors there should be: the decision, in tables. A real worker that does so is in test_crew."""

from __future__ import annotations

import pytest

from celeriac.core.message import QueueDepth
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.autoscale import Load, Scale, keepalive_s, late

KEEPALIVE_S = 30.0


@pytest.mark.parametrize(
    ("current", "load", "wanted"),
    [
        pytest.param(2, Load(busy=0, waiting=0), 2, id="never below the least"),
        pytest.param(2, Load(busy=2, waiting=0), 2, id="busy, and nothing waits"),
        pytest.param(2, Load(busy=2, waiting=3), 5, id="one for each that waits"),
        pytest.param(2, Load(busy=2, waiting=50), 10, id="never above the most"),
        pytest.param(2, Load(busy=2, waiting=0, late=1), 3, id="as many more as are late"),
        pytest.param(4, Load(busy=4, waiting=0, late=1000), 8, id="twice as many at most for what is late"),
        pytest.param(4, Load(busy=4, waiting=5, late=1), 9, id="what waits here counts when it is more"),
        pytest.param(12, Load(busy=12, waiting=0), 10, id="more than allowed since the limit was lowered"),
    ],
)
def test_growing_is_at_once(current: int, load: Load, wanted: int) -> None:
    assert Scale(KEEPALIVE_S).decide(0.0, current, 2, 10, load) == wanted


@pytest.mark.parametrize(
    ("loads", "sizes"),
    [
        pytest.param([(0, 8), (29, 1), (30, 1)], [8, 8, 2], id="after the keepalive, to the least"),
        pytest.param([(0, 8), (20, 8), (30, 1), (49, 1), (50, 1)], [8, 8, 8, 8, 2], id="all were needed meanwhile"),
        pytest.param([(0, 8), (10, 5), (29, 1), (30, 1)], [8, 8, 8, 5], id="to the most that was needed meanwhile"),
        pytest.param([(0, 8), (30, 4), (59, 1), (60, 1)], [8, 4, 4, 2], id="step by step"),
        pytest.param([(0, 8), (30, 4), (31, 9)], [8, 4, 9], id="and up again at once"),
    ],
)
def test_shrinking_takes_its_time(loads: list[tuple[float, int]], sizes: list[int]) -> None:
    scale, current, seen = Scale(KEEPALIVE_S), 8, []
    for now, needed in loads:
        current = scale.decide(now, current, 2, 10, Load(busy=needed, waiting=0))
        seen.append(current)
    assert seen == sizes


def test_a_worker_that_was_never_busy_shrinks_too() -> None:
    scale = Scale(KEEPALIVE_S)
    assert [scale.decide(now, 5, 1, 10, Load(0, 0)) for now in (100.0, 129.0, 130.0)] == [5, 5, 1]


def test_what_is_late() -> None:
    def depth(ready: int, age_s: float | None) -> QueueDepth:
        return QueueDepth("q", ready, None, None, 0, age_s)

    assert late([depth(5, 0.5), depth(7, 1.5), depth(3, None)], target_delay_s=1.0) == 10


def test_celerys_variable_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keepalive_s(30.0) == 30.0
    monkeypatch.setenv("AUTOSCALE_KEEPALIVE", "1.5")
    assert keepalive_s(30.0) == 1.5
    monkeypatch.setenv("AUTOSCALE_KEEPALIVE", "soon")
    with pytest.raises(ImproperlyConfigured, match="'soon': give seconds"):
        keepalive_s(30.0)
