"""How long it takes until a task starts, when the worker has little to do."""

from __future__ import annotations

import statistics
import time
from typing import Final

from bench.catalogue import System
from bench.run import WARM_UP, Run
from bench.servers import Servers
from bench.workloads.base import LESS, Metric, Values, Workload

RATE_PER_S: Final = 100


def measure(system: System, servers: Servers, count: int) -> Values:
    """Send at a steady pace, and take the time from just before each call to the first line of the task."""
    with Run(system, servers) as run:
        run.warm_up()
        began = time.monotonic()
        run.client.order("paced", count, RATE_PER_S)
        run.until_done(WARM_UP + count)
        waits_ms = [(ran_at - sent_at) * 1000 for sent_at, ran_at in run.records.read() if sent_at >= began]
    assert len(waits_ms) == count, f"{len(waits_ms)} runs of {count} tasks"
    percentiles = statistics.quantiles(waits_ms, n=100, method="inclusive")
    return {"p50": percentiles[49], "p99": percentiles[98]}


WORKLOAD = Workload(
    name="latency",
    title=f"From call to start, at {RATE_PER_S} tasks/s",
    count=1000,
    short_count=300,
    metrics=(
        Metric("p50", "p50 ms", LESS, digits=2, compared=True),
        Metric("p99", "p99 ms", LESS, digits=2, compared=True),
    ),
    measure=measure,
    fixed=True,
)
