"""The tables: one for each workload, of what was measured and how it stands to others on the same broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.catalogue import System
from bench.figures import Figures, Spread, of_broker
from bench.workloads.base import Metric, Workload

NOTHING = "-"


@dataclass(frozen=True)
class Baselines:
    """What figures are set beside; by default all of it."""

    celery: bool = True
    bare: bool = True
    best: bool = True


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the system."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]


def make_table(
    workload: Workload, count: int, systems: Sequence[System], figures: Figures, baselines: Baselines
) -> Table | None:
    """Write the table of a workload; None if nothing of it was measured."""
    measured = [system for system in systems if figures.rounds.get(workload.name, {}).get(system.name)]
    if not measured:
        return None
    metrics = [
        metric
        for metric in workload.metrics
        if any(figures.spread(workload.name, metric.key, system.name) for system in measured)
    ]
    best = {
        (metric.key, system.broker): figures.best_peer(workload.name, metric, of_broker(measured, system.broker))
        for metric in metrics
        for system in measured
    }
    columns = ["system"]
    for metric in metrics:
        columns.append(metric.title)
        if metric.compared:
            columns += _ratio_titles(baselines)
    rows = []
    for system in measured:
        cells = [system.name]
        for metric in metrics:
            cells.append(show(figures.spread(workload.name, metric.key, system.name), metric))
            if metric.compared:
                cells += _ratios(workload, metric, system, best[metric.key, system.broker], figures, baselines)
        rows.append(cells)
    notes = list(_notes(workload, metrics, best, baselines))
    return Table(f"{workload.name}: {workload.title} ({count:,} tasks)", columns, rows, notes)


def show(spread: Spread | None, metric: Metric) -> str:
    """Write a figure: its median, and between what it lay."""
    if spread is None:
        return NOTHING
    median, least, most = (f"{value:,.{metric.digits}f}" for value in (spread.median, spread.least, spread.most))
    return median if least == most else f"{median} [{least}-{most}]"


def _ratio_titles(baselines: Baselines) -> list[str]:
    titles = {"× Celery": baselines.celery, "× bare": baselines.bare, "× best": baselines.best}
    return [title for title, wanted in titles.items() if wanted]


def _ratios(
    workload: Workload, metric: Metric, system: System, best: System | None, figures: Figures, baselines: Baselines
) -> Iterator[str]:
    for other, wanted in (
        (system.celery, baselines.celery),
        (system.bare, baselines.bare),
        (best.name if best is not None else None, baselines.best),
    ):
        if wanted:
            ratio = figures.ratio(workload.name, metric.key, system.name, other) if other else None
            yield "" if ratio is None or other == system.name else f"{ratio:.2f}"


def _notes(
    workload: Workload, metrics: Sequence[Metric], best: Mapping[tuple[str, str], System | None], baselines: Baselines
) -> Iterator[str]:
    if not baselines.best:
        return
    for metric in metrics:
        names = [found.name for (key, _), found in best.items() if key == metric.key and found is not None]
        if metric.compared and names:
            yield f"best peer, {metric.title}: {', '.join(names)}"
