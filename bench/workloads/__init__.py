"""What is measured of each system."""

from __future__ import annotations

from bench.workloads import drain, enqueue, latency, results
from bench.workloads.base import Workload

WORKLOADS: dict[str, Workload] = {
    workload.name: workload for workload in (drain.WORKLOAD, enqueue.WORKLOAD, latency.WORKLOAD, results.WORKLOAD)
}
