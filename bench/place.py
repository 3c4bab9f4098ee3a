"""Where a system under measurement works, as its processes are told by their environment. Imported by all libraries' programs."""

from __future__ import annotations

import json
import os
from typing import Any, Final

BROKER_VARIABLE: Final = "BENCH_BROKER"
BACKEND_VARIABLE: Final = "BENCH_BACKEND"
OPTIONS_VARIABLE: Final = "BENCH_OPTIONS"
KIND_VARIABLE: Final = "BENCH_KIND"

QUEUE: Final = "bench"
BROKER_URL: Final = os.environ.get(BROKER_VARIABLE, "")
BACKEND_URL: Final = os.environ.get(BACKEND_VARIABLE, "")
OPTIONS: Final[dict[str, Any]] = json.loads(os.environ.get(OPTIONS_VARIABLE, "{}"))
"""The variant of the library: what `bench.catalogue` says of the system."""
KIND: Final = os.environ.get(KIND_VARIABLE, "")
"""What kind of tasks the workload wants, see `bench.shape`; empty: any, as the library does it best."""
ON_REDIS: Final = BROKER_URL.startswith("redis")
