"""What is measured of each system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.workloads import chord, control, delayed, drain, enqueue, growth, idle, imports, io, latency, results, soak
from bench.workloads.base import Workload

_MODULES: Final = (drain, enqueue, latency, results, io, chord, delayed, idle, imports, control, growth, soak)
WORKLOADS: Final[Mapping[str, Workload]] = {module.WORKLOAD.name: module.WORKLOAD for module in _MODULES}
