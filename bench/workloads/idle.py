"""What a worker costs that has nothing to do."""

from __future__ import annotations

import time
from typing import Final

from bench.catalogue import System
from bench.run import Run
from bench.servers import Servers
from bench.shape import EXECUTORS
from bench.workloads.base import LESS, Metric, Values, Workload

LOOK_S: Final = 20.0


def measure(system: System, servers: Servers, _count: int) -> Values:
    """Let a worker run some tasks, then look what it uses while there are none."""
    with Run(system, servers) as run:
        worker = run.warm_up()
        began, cpu_s, broker_cpu_s = time.monotonic(), worker.cpu_s(), run.place.cpu_s()
        commands = run.place.commands()
        time.sleep(LOOK_S)
        seconds = time.monotonic() - began
        worker.check_alive()
        values = {
            "cpu": (worker.cpu_s() - cpu_s) / seconds * 100,
            "memory": sum(worker.memory_mb().values()),
            "processes": len(worker.memory_mb()),
        }
        if commands is not None:
            # One of them is our own question.
            values["commands"] = ((run.place.commands() or 0) - commands - 1) / seconds
        if broker_cpu_s is not None:
            values["broker_cpu"] = ((run.place.cpu_s() or 0.0) - broker_cpu_s) / seconds * 100
    return values


WORKLOAD = Workload(
    name="idle",
    title=f"A worker of {EXECUTORS} processes with nothing to do, {LOOK_S:.0f} s",
    count=20,
    short_count=20,
    metrics=(
        Metric("memory", "MB (PSS)", LESS, digits=1, compared=True),
        Metric("cpu", "CPU %", LESS, digits=2),
        Metric("processes", "processes", LESS),
        Metric("commands", "broker commands/s", LESS, digits=1),
        Metric("broker_cpu", "broker CPU %", LESS, digits=2),
    ),
    measure=measure,
    rounds=1,
    fixed=True,
)
