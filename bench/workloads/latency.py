"""How long it takes until a task starts, when the worker has little to do."""

from __future__ import annotations

import statistics
import time

from bench.runs import WARM_UP, Run
from bench.workloads.base import Metric, Workload

RATE_PER_S = 100


def measure(run: Run, count: int) -> dict[str, float]:
    """Send at a steady pace, and take the time from just before each call to the first line of the task."""
    run.warm_up()
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / RATE_PER_S - time.monotonic()))
        run.client.send(time.monotonic())
    run.until_done(WARM_UP + count)
    waits_ms = [(ran_at - sent_at) * 1000 for sent_at, ran_at in run.records.read() if sent_at >= began]
    assert len(waits_ms) == count, f"{len(waits_ms)} runs of {count} tasks"
    percentiles = statistics.quantiles(waits_ms, n=100, method="inclusive")
    return {"p50": percentiles[49], "p99": percentiles[98]}


WORKLOAD = Workload(
    name="latency",
    title=f"From call to start, at {RATE_PER_S} tasks/s",
    count=500,
    metrics=(Metric("p50", "p50 ms", digits=2, compared=True), Metric("p99", "p99 ms", digits=2, compared=True)),
    measure=measure,
)
