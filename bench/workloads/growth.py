"""How throughput changes with executors, with what waits, and with what a message carries."""

from __future__ import annotations

from typing import Final

from bench.catalogue import System
from bench.run import Run
from bench.servers import Servers
from bench.shape import Shape
from bench.workloads.base import Metric, Values, Workload
from bench.workloads.drain import drain

EXECUTORS: Final = (1, 2)
BACKLOGS: Final = (1_000, 100_000, 1_000_000)
"""Tasks that wait; no more than `DEEPEST` times the count."""
DEEPEST: Final = 10
PAYLOADS: Final = {"100 B": 100, "10 kB": 10_000, "1 MB": 1_000_000}
PAYLOAD_BYTES: Final = 100_000_000
"""Of all messages of a round together, at most."""
LEAST: Final = 50
DRAINED: Final = 0.1
"""Part of the count that waits where this is not the question."""


def measure(system: System, servers: Servers, count: int) -> Values:
    """Drain a queue again and again, each time with one thing changed."""
    values = {}
    usual = max(LEAST, int(count * DRAINED))
    for executors in EXECUTORS:
        with Run(system, servers) as run:
            run.client.order("fill", usual)
            values[f"{executors}"] = drain(run, usual, Shape(executors))["rate"]
    for backlog in BACKLOGS:
        if backlog > count * DEEPEST:
            break
        with Run(system, servers) as run:
            run.client.order("fill", backlog)
            values[f"{backlog}"] = drain(run, backlog, Shape())["rate"]
    for name, size_bytes in PAYLOADS.items():
        carried = max(LEAST, min(usual, PAYLOAD_BYTES // size_bytes))
        with Run(system, servers) as run:
            run.client.order("carry", carried, size_bytes)
            values[name] = drain(run, carried, Shape())["rate"]
    return values


WORKLOAD = Workload(
    name="growth",
    title="Tasks/s of a drain: by executors, by what waits, by the size of an argument",
    count=100_000,
    short_count=5000,
    metrics=(
        *(Metric(f"{executors}", f"{executors} processes") for executors in EXECUTORS),
        *(Metric(f"{backlog}", f"{backlog:,} waiting") for backlog in BACKLOGS),
        *(Metric(name, f"{name} each") for name in PAYLOADS),
    ),
    measure=measure,
    rounds=1,
    default=False,
)
