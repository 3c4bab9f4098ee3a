"""`python -m bench`: measure Celeriac beside Celery, on private brokers, and print tables."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from bench.report import Report
from bench.runs import Run, Servers
from bench.systems import DEFAULT, SYSTEMS
from bench.workloads import WORKLOADS

EXAMPLES = """\b
Examples:
  make bench
  make bench ARGS="-w drain -s celeriac-redis -s celery-redis -n 20000 -r 5"
  make bench ARGS="--json figures.json"
"""


WIDTH = 120
"""Columns of the tables, where no terminal says otherwise."""


@click.command(epilog=EXAMPLES)
@click.option("-w", "--workload", "workloads", multiple=True, type=click.Choice(list(WORKLOADS)), help="Default: all.")
@click.option(
    "-s",
    "--system",
    "systems",
    multiple=True,
    type=click.Choice(list(SYSTEMS)),
    help=f"Default: {', '.join(system.name for system in DEFAULT)}.",
)
@click.option("-n", "--tasks", "count", type=click.IntRange(min=10), help="Tasks of a round, for every workload.")
@click.option("-r", "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Rounds of each.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures there too."
)
def main(
    workloads: tuple[str, ...], systems: tuple[str, ...], count: int | None, rounds: int, json_file: Path | None
) -> None:
    """Measure on private brokers, round after round with the systems taking turns; nothing is left running."""
    console, progress = Console(), Console(stderr=True)
    if not console.is_terminal:
        console.width = WIDTH
    chosen = [SYSTEMS[name] for name in systems] or list(DEFAULT)
    for broker in {system.broker for system in chosen if Servers.missing(system.broker)} - {"sqlite"}:
        progress.print(f"no server program for {broker}: its systems are left out")
        chosen = [system for system in chosen if system.broker != broker]
    wanted = [WORKLOADS[name] for name in workloads or WORKLOADS]
    report = Report(chosen, {workload.name: count or workload.count for workload in wanted})
    with Servers() as servers:
        for workload in wanted:
            for number in range(1, rounds + 1):
                for system in chosen:
                    progress.print(
                        f"{workload.name} {number}/{rounds} {system.name}", end="\r" if progress.is_terminal else "\n"
                    )
                    with Run(system, servers) as run:
                        report.add(workload, system, workload.measure(run, report.counts[workload.name]))
            report.show(console, workload)
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")


if __name__ == "__main__":
    main()
