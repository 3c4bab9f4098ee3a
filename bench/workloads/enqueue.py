"""How fast one program sends."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.runs import Run
from bench.workloads.base import Metric, Workload


def measure(run: Run, count: int) -> dict[str, float]:
    """Send one by one, then in batches; nobody works on them."""
    run.client.send_one_by_one(10)  # connects, declares
    one_by_one_s = _seconds(run.client.send_one_by_one, count)
    batch_s = _seconds(run.client.send_batch, count)
    return {"one": count / one_by_one_s, "batch": count / batch_s}


def _seconds(send: Callable[[int], None], count: int) -> float:
    began = time.perf_counter()
    send(count)
    return time.perf_counter() - began


WORKLOAD = Workload(
    name="enqueue",
    title="No-op tasks sent by one program",
    count=3000,
    metrics=(
        Metric("one", "one by one, tasks/s", compared=True),
        Metric("batch", "batch, tasks/s", compared=True),
    ),
    measure=measure,
)
