"""How fast one program gets answers."""

from __future__ import annotations

from typing import Final

from bench.catalogue import RESULTS, System
from bench.run import Run
from bench.servers import Servers
from bench.shape import EXECUTORS
from bench.workloads.base import Metric, Values, Workload

FIRST: Final = 10


def measure(system: System, servers: Servers, count: int) -> Values:
    """Send all, then fetch all results."""
    with Run(system, servers, RESULTS) as run:
        run.warm_up()
        run.client.order("round_trip", FIRST)
        return {"rate": count / run.client.order("round_trip", count).seconds}


WORKLOAD = Workload(
    name="results",
    title=f"Tasks sent and all their results fetched, {EXECUTORS} processes",
    count=2000,
    short_count=500,
    metrics=(Metric("rate", "round trips/s", compared=True),),
    measure=measure,
    fixed=True,
)
