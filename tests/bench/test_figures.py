"""What the benchmarks make of figures: medians, ratios within a round, the best peer, goals."""

from __future__ import annotations

import pytest

from bench.catalogue import SYSTEMS
from bench.figures import Figures
from bench.goals import BARE, BEST, CELERY, GOALS, GUARD_COUNTS, GUARD_SYSTEMS, GUARDED, Goal, judge
from bench.report import Report, goals_table
from bench.workloads import WORKLOADS

NAMES = ("celeriac-redis", "bare-redis", "celery-redis", "repid", "dramatiq-redis", "dramatiq-rabbitmq")
MEASURED = [SYSTEMS[name] for name in NAMES]
DRAIN = WORKLOADS["drain"]


def rates(**rounds: list[float]) -> Figures:
    """Figures of drains, by system."""
    figures = Figures()
    for system, values in rounds.items():
        for number, value in enumerate(values, 1):
            figures.add("drain", system.replace("_", "-"), number, {"rate": value})
    return figures


def test_spread_is_the_median_between_least_and_most() -> None:
    spread = rates(repid=[30.0, 10.0, 20.0]).spread("drain", "rate", "repid")

    assert spread is not None
    assert (spread.median, spread.least, spread.most) == (20.0, 10.0, 30.0)


def test_ratio_is_taken_round_by_round() -> None:
    # The second round had the machine to itself; within each round the one was twice the other.
    figures = rates(celeriac_redis=[20.0, 200.0, 22.0], repid=[10.0, 100.0, 11.0])

    assert figures.ratio("drain", "rate", "celeriac-redis", "repid") == 2.0


def test_ratio_uses_rounds_that_both_have() -> None:
    figures = rates(celeriac_redis=[20.0, 80.0, 30.0])
    figures.add("drain", "repid", 2, {"rate": 20.0})

    assert figures.ratio("drain", "rate", "celeriac-redis", "repid") == 4.0
    assert figures.ratio("drain", "rate", "celeriac-redis", "arq") is None


def test_best_peer_is_never_ours_nor_the_bare_loop() -> None:
    figures = rates(celeriac_redis=[50.0], bare_redis=[90.0], repid=[13.0], dramatiq_redis=[9.0])
    (rate,) = (metric for metric in DRAIN.metrics if metric.key == "rate")

    best = figures.best_peer("drain", rate, MEASURED)

    assert best is not None
    assert best.name == "repid"


def test_best_peer_has_least_where_less_is_better() -> None:
    latency = WORKLOADS["latency"]
    (p50,) = (metric for metric in latency.metrics if metric.key == "p50")
    figures = Figures()
    figures.add("latency", "repid", 1, {"p50": 1.5})
    figures.add("latency", "dramatiq-redis", 1, {"p50": 5.8})

    best = figures.best_peer("latency", p50, MEASURED)

    assert best is not None
    assert best.name == "repid"


def test_figures_come_back_from_json_and_later_ones_count() -> None:
    first, second = rates(repid=[1.0], arq=[2.0]), rates(repid=[3.0])
    read = Figures()
    read.merge(first.as_json())
    read.merge(second.as_json())

    assert read.rounds == {"drain": {"repid": {1: {"rate": 3.0}}, "arq": {1: {"rate": 2.0}}}}


def test_table_shows_ratios_to_each_baseline_on_the_same_broker() -> None:
    figures = rates(
        celeriac_redis=[50.0], bare_redis=[100.0], celery_redis=[1.0], repid=[10.0], dramatiq_rabbitmq=[500.0]
    )

    table = Report(MEASURED, figures).workload(DRAIN, 20_000)

    assert table is not None
    assert list(table.columns) == ["system", "tasks/s", "to Celery", "to bare", "to best"]
    assert table.rows[0] == ["celeriac-redis", "50", "x 50.00", "x 0.50", "x 5.00"]
    assert table.ours == {"celeriac-redis"}


def test_table_shows_only_the_baselines_that_are_asked_for() -> None:
    figures = rates(celeriac_redis=[50.0], bare_redis=[100.0], celery_redis=[1.0])

    table = Report(MEASURED, figures, ["bare"]).workload(DRAIN, 20_000)

    assert table is not None
    assert list(table.columns) == ["system", "tasks/s", "to bare"]


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal("celeriac-redis", "drain", "rate", 2.5, BEST), True),
        (Goal("celeriac-redis", "drain", "rate", 2.5, CELERY), True),
        (Goal("celeriac-redis", "drain", "rate", 0.6, BARE), False),
        (Goal("celeriac-redis", "drain", "rate", 50), True),
        (Goal("celeriac-redis", "drain", "rate", 51), False),
        (Goal("celeriac-redis", "drain", "rate", 6, "dramatiq-redis"), None),
        (Goal("celeriac-redis", "latency", "p50", 1.5, BARE), False),
        (Goal("celeriac-redis", "latency", "p50", 2, BARE), True),
    ],
)
def test_goals_are_judged(goal: Goal, met: bool | None) -> None:
    figures = rates(celeriac_redis=[50.0], bare_redis=[100.0], celery_redis=[1.0], repid=[20.0])
    figures.add("latency", "celeriac-redis", 1, {"p50": 2.0})
    figures.add("latency", "bare-redis", 1, {"p50": 1.0})

    (verdict,) = judge([goal], MEASURED, figures)

    assert verdict.met is met
    assert len(goals_table("Goals", [verdict]).rows) == (met is not None)


def test_every_goal_is_of_something_that_is_measured() -> None:
    for goal in (*GOALS, *GUARDED):
        assert goal.system in SYSTEMS
        assert goal.figure.key == goal.metric


def test_the_guard_has_nothing_but_ratios_to_the_bare_loop_that_it_measures() -> None:
    for goal in GUARDED:
        assert goal.against == BARE
        assert goal.workload in GUARD_COUNTS
        assert {goal.system, SYSTEMS[goal.system].bare} <= set(GUARD_SYSTEMS)
