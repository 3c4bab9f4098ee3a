"""What is measured of each system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.workloads import drain, enqueue, latency, results
from bench.workloads.base import Workload

_ALL: Final = (drain.WORKLOAD, enqueue.WORKLOAD, latency.WORKLOAD, results.WORKLOAD)
WORKLOADS: Final[Mapping[str, Workload]] = {workload.name: workload for workload in _ALL}
