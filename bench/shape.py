"""How large a worker is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EXECUTORS: Final = 2


@dataclass(frozen=True)
class Shape:
    """What runs tasks."""

    processes: int = EXECUTORS
    """Each may have threads or coroutines, as the library does it best for tasks that end at once."""
    kind: str = ""
    """`thread` or `async` where a workload wants one of them, with `slots` in each process; `later` where tasks are
    delayed, `results` where their results are wanted: a library may need more for it."""
    slots: int = 0
