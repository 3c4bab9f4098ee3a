"""How fast a full queue is worked off."""

from __future__ import annotations

from bench.runs import Run
from bench.systems.base import WORKER_PROCESSES
from bench.workloads.base import Metric, Workload


def measure(run: Run, count: int) -> dict[str, float]:
    """Fill the queue, then start a worker; its start is not measured, but all from the first task to the last."""
    run.client.send_batch(count)
    run.start_worker()
    run.until_done(1)
    cpu_before_s, done_before = run.worker_cpu_s(), run.records.count()
    run.until_done(count)
    cpu_s = run.worker_cpu_s() - cpu_before_s
    records = run.records.read()
    assert len(records) == count, f"{len(records)} runs of {count} tasks"
    seconds = records[-1][1] - records[0][1]
    values = {"rate": (count - 1) / seconds}
    if done_before < count / 2:  # else too little of it was seen
        values["cpu"] = cpu_s / (count - done_before) * 1000
    return values


WORKLOAD = Workload(
    name="drain",
    title=f"No-op tasks worked off by {WORKER_PROCESSES} processes, first to last",
    count=10_000,
    metrics=(
        Metric("rate", "tasks/s", compared=True),
        Metric("cpu", "worker CPU s per 1,000", digits=3, compared=True),
    ),
    measure=measure,
)
