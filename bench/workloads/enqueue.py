"""How fast one program sends."""

from __future__ import annotations

import contextlib
from typing import Final

from bench.catalogue import System
from bench.client import CALLERS
from bench.processes import Lacking
from bench.run import Run
from bench.servers import Servers
from bench.workloads.base import LESS, Metric, Values, Workload

FIRST: Final = 10
"""Tasks that are sent before: they connect and declare."""
WAYS: Final = {"one": "one_by_one", "batch": "batch", "group": "group", "gather": "gather"}


def measure(system: System, servers: Servers, count: int) -> Values:
    """Send one by one, then in each other way that there is; nobody works on them."""
    values = {}
    with Run(system, servers) as run:
        run.client.order("one_by_one", FIRST)
        for key, way in WAYS.items():
            with contextlib.suppress(Lacking):
                run.client.order(way, FIRST)
                took = run.client.order(way, count)
                values[key] = count / took.seconds
                if key == "one":
                    values["cpu"] = took.cpu_s / count * 1000
    return values


WORKLOAD = Workload(
    name="enqueue",
    title=f"No-op tasks sent by one program: one by one, by batch calls, as a group, from {CALLERS} coroutines",
    count=5000,
    short_count=1500,
    metrics=(
        Metric("one", "one by one/s", compared=True),
        Metric("batch", "batch/s", compared=True),
        Metric("group", "group/s"),
        Metric("gather", "coroutines/s"),
        Metric("cpu", "CPU s/1,000 one by one", LESS, digits=3),
    ),
    measure=measure,
    fixed=True,
)
