"""How well tasks keep to their time, and what those cost that wait for it."""

from __future__ import annotations

import statistics
import threading
import time
from types import TracebackType
from typing import Final, Self

from bench.catalogue import LATER, System
from bench.processes import Worker
from bench.run import WARM_UP, Run
from bench.servers import Servers
from bench.shape import Shape
from bench.workloads.base import LESS, Metric, Values, Workload

LEAST_S: Final = 5.0
MOST_S: Final = 15.0
LOOK_EVERY_S: Final = 0.5
EARLY_MS: Final = -1.0
"""Clocks of milliseconds are no reason to call a task early."""


class Peak:
    """The most memory that a worker has, looked at in a thread as long as the `with` block lasts."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory")
        self.mb = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            self.mb = max(self.mb, sum(self._worker.memory_mb().values()))


def measure(system: System, servers: Servers, count: int) -> Values:
    """Send all, each with a delay of its own, and compare when it was due with when it began."""
    with Run(system, servers, LATER) as run:
        worker = run.warm_up(Shape(kind=LATER))
        before_mb = sum(worker.memory_mb().values())
        began = time.monotonic()
        with Peak(worker) as peak:
            run.client.order("later", count, LEAST_S, MOST_S)
            run.until_done(WARM_UP + count)
        late_ms = [(ran_at - due) * 1000 for due, ran_at in run.records.read() if due >= began + LEAST_S]
    assert len(late_ms) == count, f"{len(late_ms)} runs of {count} tasks"
    percentiles = statistics.quantiles(late_ms, n=100, method="inclusive")
    return {
        "p50": percentiles[49],
        "p99": percentiles[98],
        "most": max(late_ms),
        "early": sum(late < EARLY_MS for late in late_ms),
        "growth": peak.mb - before_mb,
    }


WORKLOAD = Workload(
    name="delayed",
    title=f"Tasks delayed by {LEAST_S:.0f} to {MOST_S:.0f} s: how late they begin, and what the worker's memory grows by",
    count=10_000,
    short_count=1000,
    metrics=(
        Metric("p50", "late by p50 ms", LESS, digits=1, compared=True),
        Metric("p99", "p99 ms", LESS, digits=1, compared=True),
        Metric("most", "most ms", LESS, digits=0),
        Metric("early", "early", LESS),
        Metric("growth", "growth MB (PSS)", LESS, digits=1),
    ),
    measure=measure,
    rounds=1,
)
