"""What Celeriac is to reach, as data; and what it must not fall behind again. Pure.

A goal is met or not in one run, beside others in the same run. The guard's bounds are ratios to the bare loop alone: it does the
same work of the broker on the same machine in the same minute, so that a bound holds on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.catalogue import SYSTEMS, System
from bench.figures import Figures, of_broker
from bench.workloads import WORKLOADS
from bench.workloads.base import MORE, Metric

BEST: Final = "best peer"
"""Whoever of the peers on the same broker did best."""
CELERY: Final = "Celery prefork"
BARE: Final = "bare loop"
ITSELF: Final = ""
"""The figure itself is bounded."""


@dataclass(frozen=True)
class Goal:
    """A bound for one figure of one system."""

    system: str
    workload: str
    metric: str
    bound: float
    """Least or most, whichever the metric has for better: times the other's figure, or as it is."""
    against: str = ITSELF
    """`BEST`, `CELERY`, `BARE`, the name of a system, or `ITSELF`."""

    @property
    def figure(self) -> Metric:
        """The metric."""
        return next(metric for metric in WORKLOADS[self.workload].metrics if metric.key == self.metric)

    @property
    def wants_more(self) -> bool:
        """Whether the bound is a least."""
        return self.figure.better == MORE


@dataclass(frozen=True)
class Verdict:
    """What became of a goal in a run."""

    goal: Goal
    measured: float | None
    """None: not measured here."""
    other: str
    """What it was compared with."""

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None if it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.goal.bound if self.goal.wants_more else self.measured <= self.goal.bound


REDIS: Final = "celeriac-redis"
RABBITMQ: Final = "celeriac-rabbitmq"

GOALS: Final = (
    Goal(REDIS, "drain", "rate", 2.5, BEST),
    Goal(REDIS, "drain", "rate", 25, CELERY),
    Goal(RABBITMQ, "drain", "rate", 1.5, "dramatiq-rabbitmq"),
    Goal(RABBITMQ, "drain", "rate", 5, CELERY),
    Goal(REDIS, "drain", "worker_cpu", 0.05),
    Goal(REDIS, "enqueue", "one", 0.8, BARE),
    Goal(REDIS, "enqueue", "one", 3, CELERY),
    Goal(REDIS, "enqueue", "batch", 25_000),
    Goal(REDIS, "enqueue", "group", 25_000),
    Goal(REDIS, "enqueue", "gather", 25_000),
    Goal(RABBITMQ, "enqueue", "one", 0.8, BARE),
    Goal(RABBITMQ, "enqueue", "batch", 0.8, BARE),
    Goal(REDIS, "latency", "p50", 1.5, BARE),
    Goal(REDIS, "latency", "p99", 3, BARE),
    Goal(REDIS, "results", "rate", 3, BEST),
    Goal(REDIS, "io", "thread", 1.05),
    Goal(REDIS, "io", "async", 1.05),
    Goal(REDIS, "delayed", "p50", 5),
    Goal(REDIS, "delayed", "p99", 25),
    Goal(REDIS, "delayed", "growth", 1),
    Goal(REDIS, "idle", "memory", 60),
    Goal(REDIS, "idle", "cpu", 0.3),
)

NOISE: Final = 0.7
"""What a ratio of one run may differ by from that of a long quiet measurement, on a machine that others use, too."""
MEASURED: Final = (
    Goal(REDIS, "drain", "rate", 0.16, BARE),
    Goal(RABBITMQ, "drain", "rate", 0.25, BARE),
    Goal(REDIS, "enqueue", "one", 0.95, BARE),
    Goal(REDIS, "enqueue", "batch", 0.44, BARE),
    Goal(RABBITMQ, "enqueue", "one", 0.85, BARE),
    Goal(RABBITMQ, "enqueue", "batch", 0.68, BARE),
    Goal(REDIS, "latency", "p50", 2.8, BARE),
    Goal(RABBITMQ, "latency", "p50", 2.0, BARE),
)
"""Ratios that Celeriac has reached; renew them when it becomes faster."""
GUARDED: Final = tuple(
    Goal(goal.system, goal.workload, goal.metric, goal.bound * (NOISE if goal.wants_more else 1 / NOISE), goal.against)
    for goal in MEASURED
)
"""The same with room for noise: what is beyond has become slower."""
GUARD_COUNTS: Final = {"drain": 20_000, "enqueue": 3000, "latency": 300}
"""Workload -> tasks of a round, when only the guard is asked."""
GUARD_SYSTEMS: Final = (REDIS, "bare-redis", RABBITMQ, "bare-rabbitmq")


def judge(goals: Sequence[Goal], systems: Sequence[System], figures: Figures) -> Iterator[Verdict]:
    """Compare goals with what was measured with these systems."""
    for goal in goals:
        system = SYSTEMS[goal.system]
        if goal.against == ITSELF:
            spread = figures.spread(goal.workload, goal.metric, goal.system)
            yield Verdict(goal, spread.median if spread else None, ITSELF)
            continue
        other = _other(goal, system, systems, figures)
        ratio = figures.ratio(goal.workload, goal.metric, goal.system, other) if other else None
        yield Verdict(goal, ratio, other or goal.against)


def _other(goal: Goal, system: System, systems: Sequence[System], figures: Figures) -> str | None:
    match goal.against:
        case "best peer":
            best = figures.best_peer(goal.workload, goal.figure, of_broker(systems, system.broker))
            return best.name if best is not None else None
        case "Celery prefork":
            return system.celery
        case "bare loop":
            return system.bare
    return goal.against
