"""How fast a full queue is worked off."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from bench.catalogue import System
from bench.run import Run
from bench.servers import Servers
from bench.shape import EXECUTORS, Shape
from bench.workloads.base import LESS, Metric, Values, Workload

SEEN: Final = 0.1
"""Part of the tasks after which the measuring begins: by then all processes have started."""
SETTLE_S: Final = 0.2
"""After the last task, so that its acknowledgement is measured, too."""


def measure(system: System, servers: Servers, count: int) -> Values:
    """Fill the queue, start a worker, and measure all but the first tenth."""
    with Run(system, servers) as run:
        run.client.order("fill", count)
        return drain(run, count, Shape())


def drain(run: Run, count: int, shape: Shape) -> Values:
    """Have a full queue worked off."""
    worker = run.start_worker(shape)
    first = max(1, int(count * SEEN))
    run.until_done(first)
    worker_cpu_s, broker_cpu_s, begun = worker.cpu_s(), run.place.cpu_s(), run.records.count()
    run.until_done(count)
    time.sleep(SETTLE_S)
    records = run.records.read()
    assert len(records) == count, f"{len(records)} runs of {count} tasks"
    values = {"rate": rate(records, first)}
    if begun < count * 0.7:  # else too little of it was seen
        thousands = (count - begun) / 1000
        values["worker_cpu"] = (worker.cpu_s() - worker_cpu_s) / thousands
        if broker_cpu_s is not None:
            values["broker_cpu"] = ((run.place.cpu_s() or 0.0) - broker_cpu_s) / thousands
    return values


def rate(records: Sequence[tuple[float, float]], first: int) -> float:
    """Tasks per second, from the `first`th to the last."""
    return (len(records) - first) / (records[-1][1] - records[first - 1][1])


WORKLOAD = Workload(
    name="drain",
    title=f"No-op tasks of a full queue, worked off by {EXECUTORS} processes",
    count=20_000,
    short_count=4000,
    metrics=(
        Metric("rate", "tasks/s", compared=True),
        Metric("worker_cpu", "worker CPU s/1,000", LESS, digits=3),
        Metric("broker_cpu", "broker CPU s/1,000", LESS, digits=3),
    ),
    measure=measure,
)
