"""How well a worker waits: tasks that do nothing but wait for something outside."""

from __future__ import annotations

from typing import Final

from bench.catalogue import ASYNC, THREAD, System
from bench.processes import Lacking
from bench.run import Run
from bench.servers import Servers
from bench.shape import Shape
from bench.workloads.base import LESS, Metric, Values, Workload

WAIT_S: Final = 0.1
AT_ONCE: Final = 100


def measure(system: System, servers: Servers, count: int) -> Values:
    """Fill the queue, start one process, and take the time from the first task's begin to the last one's end."""
    if not system.io:
        raise Lacking(f"{system.name} does not run {AT_ONCE} tasks at a time in one process")
    values = {}
    ideal_s = count * WAIT_S / AT_ONCE
    for kind in system.io:
        with Run(system, servers, kind) as run:
            run.client.order("io", count, WAIT_S)
            worker = run.start_worker(Shape(processes=1, kind=kind, slots=AT_ONCE))
            run.until_done(1)
            worker_cpu_s = worker.cpu_s()
            run.until_done(count)
            values[f"{kind}_cpu"] = (worker.cpu_s() - worker_cpu_s) / count * 1000
            records = run.records.read()
        began, ended = min(began for began, _ in records), max(ended for _, ended in records)
        values[kind] = (ended - began) / ideal_s
    return values


WORKLOAD = Workload(
    name="io",
    title=f"Tasks that wait {WAIT_S * 1000:.0f} ms, {AT_ONCE} at a time in one process: time taken, of the ideal",
    count=2000,
    short_count=500,
    metrics=(
        Metric(THREAD, "threads, x ideal", LESS, digits=3),
        Metric(f"{THREAD}_cpu", "CPU s/1,000", LESS, digits=3),
        Metric(ASYNC, "coroutines, x ideal", LESS, digits=3),
        Metric(f"{ASYNC}_cpu", "CPU s/1,000", LESS, digits=3),
    ),
    measure=measure,
    fixed=True,
)
