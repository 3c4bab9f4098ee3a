"""How soon a worker answers a ping, when it has nothing to do, and when all its executors are busy."""

from __future__ import annotations

import statistics
import time
from typing import Final

from bench.catalogue import System
from bench.processes import RunFailed
from bench.run import Run
from bench.servers import Servers
from bench.shape import EXECUTORS
from bench.workloads.base import LESS, Metric, Values, Workload

BURN_S: Final = 60.0
"""How long executors are kept busy at most: the worker is killed before."""


def measure(system: System, servers: Servers, count: int) -> Values:
    """Ask so often, one after the other, and take the time from just before each request to the reply; then all that again.

    Each executor is busy with a task that takes all it gets of a processor.
    """
    with Run(system, servers) as run:
        run.warm_up()
        run.client.order("ping", 1)  # it connects
        values = _percentiles(run, count, "idle")
        seen = run.records.count()
        run.client.order("burn", EXECUTORS, BURN_S)
        run.until_done(seen + EXECUTORS)  # they have begun
        began = time.monotonic()
        values |= _percentiles(run, count, "busy")
        if time.monotonic() - began > BURN_S:
            raise RunFailed(f"{count} answers took longer than executors are busy, {BURN_S:g} s")
    return values


def _percentiles(run: Run, count: int, state: str) -> Values:
    began = time.monotonic()
    run.client.order("ping", count)
    took_ms = [(answered_at - asked_at) * 1000 for asked_at, answered_at in run.records.read() if asked_at >= began]
    assert len(took_ms) == count, f"{len(took_ms)} answers to {count} requests"
    percentiles = statistics.quantiles(took_ms, n=100, method="inclusive")
    return {f"{state}_p50": percentiles[49], f"{state}_p99": percentiles[98]}


WORKLOAD = Workload(
    name="control",
    title=f"From a ping by remote control to its answer; busy: each of {EXECUTORS} executors takes a processor",
    count=500,
    short_count=50,
    metrics=(
        Metric("idle_p50", "idle: p50 ms", LESS, digits=2, compared=True),
        Metric("idle_p99", "idle: p99 ms", LESS, digits=2),
        Metric("busy_p50", "busy: p50 ms", LESS, digits=2, compared=True),
        Metric("busy_p99", "busy: p99 ms", LESS, digits=2),
    ),
    measure=measure,
    default=False,
    fixed=True,
)
