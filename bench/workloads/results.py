"""How fast one program gets answers."""

from __future__ import annotations

import time

from bench.runs import Run
from bench.systems.base import WORKER_PROCESSES
from bench.workloads.base import Metric, Workload


def measure(run: Run, count: int) -> dict[str, float]:
    """Send all, then fetch all results, in order."""
    run.warm_up()
    run.client.round_trip(10)
    began = time.perf_counter()
    run.client.round_trip(count)
    return {"rate": count / (time.perf_counter() - began)}


WORKLOAD = Workload(
    name="results",
    title=f"Sent one by one, all results fetched, {WORKER_PROCESSES} processes",
    count=2000,
    metrics=(Metric("rate", "round trips/s", compared=True),),
    measure=measure,
)
