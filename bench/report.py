"""What was measured, as tables and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.systems.base import System
from bench.workloads.base import Metric, Workload
from celeriac import __version__

PACKAGES = ("celery", "kombu", "redis")

Rounds = list[dict[str, float]]
"""One value per metric, for each round."""


@dataclass
class Report:
    """All rounds of all workloads and systems."""

    systems: Sequence[System]
    counts: Mapping[str, int]
    """Workload -> tasks of a round."""
    rounds: dict[str, dict[str, Rounds]] = field(default_factory=dict)
    """Workload -> system -> rounds."""
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def add(self, workload: Workload, system: System, values: dict[str, float]) -> None:
        """Keep one round."""
        self.rounds.setdefault(workload.name, {}).setdefault(system.name, []).append(values)

    def show(self, console: Console, workload: Workload) -> None:
        """Print the table of one workload: median [min-max], and the ratio to Celery on the same broker."""
        measured = self.rounds.get(workload.name)
        if not measured:
            return
        table = Table(title=f"{workload.title} ({self.counts[workload.name]:,} tasks)", title_justify="left")
        table.add_column("system", no_wrap=True)
        for metric in workload.metrics:
            table.add_column(metric.title, justify="right", no_wrap=True)
            if metric.compared:
                table.add_column("to Celery's", justify="right", no_wrap=True)
        for system in self.systems:
            if system.name not in measured:
                continue
            cells = []
            for metric in workload.metrics:
                cells.append(_spread(_values(measured[system.name], metric), metric))
                if metric.compared:
                    cells.append(self._ratio(workload, system, metric))
            table.add_row(system.name, *cells)
        console.print(table)

    def as_json(self) -> dict[str, Any]:
        """Everything, with what is needed to understand it."""
        return {
            "began_at": self.began_at.isoformat(),
            "machine": {
                "processors": os.cpu_count(),
                "system": platform.platform(),
                "python": platform.python_version(),
                "load": os.getloadavg(),
            },
            "versions": {"celeriac": __version__, **{package: version(package) for package in PACKAGES}},
            "counts": dict(self.counts),
            "rounds": self.rounds,
        }

    def _ratio(self, workload: Workload, system: System, metric: Metric) -> str:
        peer = f"celery-{system.broker}"
        theirs = self.rounds[workload.name].get(peer)
        if theirs is None or system.name == peer:
            return ""
        # Round by round, because the rounds of one number were neighbours in time on a machine that is never quiet.
        ours = self.rounds[workload.name][system.name]
        pairs = zip(_values(ours, metric), _values(theirs, metric), strict=False)
        ratios = [mine / other for mine, other in pairs if other]
        return f"x {statistics.median(ratios):.2f}" if ratios else ""


def _values(rounds: Rounds, metric: Metric) -> list[float]:
    return [values[metric.key] for values in rounds if metric.key in values]


def _spread(values: Sequence[float], metric: Metric) -> str:
    if not values:
        return "-"
    median, low, high = (
        f"{value:,.{metric.digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return median if len(values) == 1 else f"{median} [{low}-{high}]"
