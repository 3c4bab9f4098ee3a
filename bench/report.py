"""The tables: one for each workload, of what was measured and how it stands to others on the same broker; and one of the goals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.catalogue import OURS, System
from bench.figures import Figures, Spread, of_broker
from bench.goals import ITSELF, Verdict
from bench.workloads.base import Metric, Workload

NOTHING: Final = "-"
CELERY, BARE, BEST = "celery", "bare", "best"
BASELINES: Final = {CELERY: "to Celery", BARE: "to bare", BEST: "to best"}
"""What figures are set beside: Celery prefork, the bare loop, the best peer; all on the same broker."""


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the system."""

    name: str
    """Of the workload, or empty."""
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    ours: frozenset[str] = frozenset()
    """Names of rows that are Celeriac's."""
    is_numbers: bool = True
    """Whether all but the first column are figures, which stand at the right."""


class Report:
    """What a run gave, as tables."""

    def __init__(
        self, systems: Sequence[System], figures: Figures, baselines: Sequence[str] = tuple(BASELINES)
    ) -> None:
        self._systems = systems
        self._figures = figures
        self._baselines = [baseline for baseline in BASELINES if baseline in baselines]

    def workload(self, workload: Workload, count: int) -> Table | None:
        """Write the table of a workload; None if nothing of it was measured."""
        measured = [system for system in self._systems if self._figures.rounds.get(workload.name, {}).get(system.name)]
        metrics = [
            metric
            for metric in workload.metrics
            if any(self._figures.spread(workload.name, metric.key, system.name) for system in measured)
        ]
        if not metrics:
            return None
        columns = ["system"]
        for metric in metrics:
            columns += [metric.title, *self._ratio_titles(metric)]
        rows = []
        for system in measured:
            cells = [system.name]
            for metric in metrics:
                cells.append(show(self._figures.spread(workload.name, metric.key, system.name), metric))
                cells += self._ratios(workload, metric, system)
            rows.append(cells)
        ours = frozenset(system.name for system in measured if system.library == OURS)
        notes = list(self._notes(workload, metrics, measured))
        title = f"{workload.name}: {workload.title} ({count:,} tasks)"
        return _without_empty_columns(Table(workload.name, title, columns, rows, notes, ours))

    def _ratio_titles(self, metric: Metric) -> list[str]:
        return [BASELINES[baseline] for baseline in self._baselines] if metric.compared else []

    def _ratios(self, workload: Workload, metric: Metric, system: System) -> Iterator[str]:
        if not metric.compared:
            return
        others = {CELERY: system.celery, BARE: system.bare, BEST: self._best(workload, metric, system.broker)}
        for baseline in self._baselines:
            other = others[baseline]
            ratio = self._figures.ratio(workload.name, metric.key, system.name, other)
            yield "" if ratio is None or other == system.name else f"x {ratio:.2f}"

    def _best(self, workload: Workload, metric: Metric, broker: str) -> str:
        best = self._figures.best_peer(workload.name, metric, of_broker(self._systems, broker))
        return best.name if best is not None else ""

    def _notes(self, workload: Workload, metrics: Iterable[Metric], measured: Iterable[System]) -> Iterator[str]:
        brokers = dict.fromkeys(system.broker for system in measured)
        for metric in metrics:
            names = [best for broker in brokers if (best := self._best(workload, metric, broker))]
            if metric.compared and names and BEST in self._baselines:
                yield f"best, {metric.title}: {', '.join(names)}"


def goals_table(title: str, verdicts: Sequence[Verdict]) -> Table:
    """Write what became of the goals that were measured."""
    rows = []
    for verdict in verdicts:
        if verdict.measured is None:
            continue
        goal = verdict.goal
        bound = f"{'at least' if goal.wants_more else 'at most'} {goal.bound:,.6g}"
        if goal.against != ITSELF:
            beside = "" if verdict.other == goal.against else f" ({verdict.other})"
            bound = f"{bound} x {goal.against}{beside}"
        measured = f"{verdict.measured:,.{_digits(verdict.measured)}f}"
        met = "met" if verdict.met else "NOT MET"
        rows.append([goal.system, f"{goal.workload}: {goal.figure.title}", bound, measured, met])
    silent = len(verdicts) - len(rows)
    notes = [f"{silent} more are of what was not measured here"] if silent else []
    return Table("", title, ["system", "figure", "goal", "measured", ""], rows, notes, is_numbers=False)


def show(spread: Spread | None, metric: Metric) -> str:
    """Write a figure: its median, and between what it lay."""
    if spread is None:
        return NOTHING
    median, least, most = (f"{value:,.{metric.digits}f}" for value in (spread.median, spread.least, spread.most))
    return median if least == most else f"{median} [{least}-{most}]"


def _without_empty_columns(table: Table) -> Table:
    kept = [number for number in range(len(table.columns)) if any(row[number] for row in table.rows)]
    rows = [[row[number] for number in kept] for row in table.rows]
    return replace(table, columns=[table.columns[number] for number in kept], rows=rows)


def _digits(value: float) -> int:
    return 0 if value >= 1000 else 1 if value >= 20 else 3 if value < 1 else 2
