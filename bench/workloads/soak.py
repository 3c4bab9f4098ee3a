"""Whether a worker grows: very many tasks, and what its memory does meanwhile."""

from __future__ import annotations

import statistics
from typing import Final

from bench.catalogue import System
from bench.run import WARM_UP, Run
from bench.servers import Servers
from bench.workloads.base import LESS, Metric, Values, Workload

PORTIONS: Final = 20
"""Looks at the memory, each when a portion of the tasks is done."""
SETTLED: Final = 4
"""Portions after which what grows will go on growing: pools, caches and arenas are full by then."""


def measure(system: System, servers: Servers, count: int) -> Values:
    """Send and have run a portion at a time, and fit a line to the memory of each process."""
    size = count // PORTIONS
    done: list[float] = []
    memory_mb: list[dict[int, float]] = []
    with Run(system, servers) as run:
        worker = run.warm_up()
        for number in range(1, PORTIONS + 1):
            run.client.order("fill", size)
            run.until_done(WARM_UP + number * size)
            done.append(number * size / 100_000)
            memory_mb.append(worker.memory_mb())
    lasting = [pid for pid in memory_mb[SETTLED] if all(pid in looked for looked in memory_mb[SETTLED:])]
    slopes = [
        statistics.linear_regression(done[SETTLED:], [looked[pid] for looked in memory_mb[SETTLED:]]).slope
        for pid in lasting
    ]
    return {
        "slope": max(slopes),
        "growth": sum(memory_mb[-1].values()) - sum(memory_mb[SETTLED].values()),
        "memory": sum(memory_mb[-1].values()),
    }


WORKLOAD = Workload(
    name="soak",
    title="Very many tasks: the memory of a worker that works on and on",
    count=1_000_000,
    short_count=20_000,
    metrics=(
        Metric("slope", "steepest process, MB/100,000", LESS, digits=2),
        Metric("growth", "growth in the last 3/4, MB", LESS, digits=2),
        Metric("memory", "at the end, MB", LESS, digits=1),
    ),
    measure=measure,
    rounds=1,
    default=False,
)
