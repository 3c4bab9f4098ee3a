"""What several scenarios ask of a worker that goes through something."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from celeriac.torture.processes import Worker
from celeriac.torture.scenario import Check

RESUME_S: Final = 2.0
"""So soon after the broker's return work has to go on."""
NEVER_S: Final = 999.0


def pids(worker: Worker) -> set[int]:
    """Return the numbers of its processes."""
    return {process.pid for process in worker.family()}


def same(before: set[int], worker: Worker) -> Check:
    """Say whether all the processes still live that there were before."""
    gone = before - pids(worker)
    return Check(f"no process of {worker.name} died{named(gone)}", worker.running and not gone)


def goes_on(seconds: Sequence[float | None], most_s: float = RESUME_S) -> list[Check]:
    """Say whether work went on each time, and soon enough."""
    longest = max(NEVER_S if one is None else one for one in seconds)
    return [
        Check("work goes on by itself", longest < NEVER_S),
        Check(f"{longest:.1f} s after the return", longest <= most_s, timed=True),
    ]


def named(names: Collection[object]) -> str:
    """Name what is not as it must be, if anything is."""
    return f" (but: {', '.join(map(str, names))})" if names else ""
