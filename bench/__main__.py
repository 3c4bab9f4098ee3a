"""`python -m bench`: measure Celeriac beside its peers and the bare loop, on private brokers, and print tables."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable

from bench import environments, servers
from bench.campaign import Campaign
from bench.catalogue import DEFAULT, SYSTEMS, System
from bench.progress import Progress
from bench.report import Baselines, Table, make_table
from bench.workloads import WORKLOADS
from bench.workloads.base import Workload

EXAMPLES = """\b
Examples:
  make bench
  make bench ARGS="--list"
  make bench ARGS="-w drain -s celeriac-redis -s bare-redis -s dramatiq-redis -n 20000 -r 5"
  make bench ARGS="--short --json figures.json"
"""
WIDTH = 200
"""Columns of the tables where no terminal says otherwise: no figure is ever cut."""


@click.command(epilog=EXAMPLES)
@click.option("-w", "--workload", "workloads", multiple=True, metavar="NAME", help="Default: those marked by --list.")
@click.option("-s", "--system", "systems", multiple=True, metavar="NAME", help="Default: those marked by --list.")
@click.option("-n", "--tasks", "count", type=click.IntRange(min=20), help="Tasks of a round, for every workload.")
@click.option("-r", "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Rounds of each.")
@click.option("--short", is_flag=True, help="Fewer tasks: to see that all works, rather than to measure.")
@click.option("--list", "listing", is_flag=True, help="Say what can be measured, and with what.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every figure there.")
def main(
    workloads: tuple[str, ...],
    systems: tuple[str, ...],
    count: int | None,
    rounds: int,
    short: bool,
    listing: bool,
    json_file: Path | None,
) -> None:
    """Measure on private brokers, round after round with the systems taking turns; nothing is left running."""
    signal.signal(signal.SIGTERM, _stop)
    console, errors = Console(), Console(stderr=True)
    if not console.is_terminal:
        console.width = WIDTH
    if listing:
        return _list(console)
    chosen = _chosen("system", SYSTEMS, systems) or list(DEFAULT)
    wanted = _chosen("workload", WORKLOADS, workloads) or [one for one in WORKLOADS.values() if one.default]
    campaign = Campaign(
        wanted,
        _possible(chosen, bool(systems), errors),
        {one.name: count or (one.short_count if short else one.count) for one in wanted},
        rounds,
    )
    steps = [(one.name, system.name) for one in wanted for _ in range(rounds) for system in campaign.systems]
    began_at = datetime.now(UTC)

    def show(workload: Workload) -> None:
        count = campaign.counts[workload.name]
        table = make_table(workload, count, campaign.systems, campaign.figures, Baselines())
        if table is not None:
            _print(console, table)

    with servers.Servers() as brokers, Progress(errors, steps) as progress:
        campaign.play(brokers, progress, show)
    if json_file is not None:
        json_file.write_text(json.dumps(_as_json(campaign, began_at), indent=2) + "\n")
    if campaign.failures:
        errors.print(f"{len(campaign.failures)} rounds failed, see above")
        sys.exit(1)


def _chosen(what: str, known: Any, names: Sequence[str]) -> list[Any]:
    for name in names:
        if name not in known:
            raise click.UsageError(f"there is no {what} {name!r}; there are: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)]


def _possible(chosen: Sequence[System], by_name: bool, errors: Console) -> list[System]:
    """Return those of the systems that can be measured here; what is not, and was asked for by name, is an error."""
    left_out: dict[str, str] = {}
    for broker in dict.fromkeys(system.broker for system in chosen):
        if servers.missing(broker):
            left_out |= {system.name: f"no server program for {broker}" for system in chosen if system.broker == broker}
    for library in dict.fromkeys(system.library for system in chosen if system.name not in left_out):
        if not environments.is_ready(library):
            errors.print(f"building the environment of {library} under {environments.ENVIRONMENTS} ...")
            try:
                environments.build(library)
            except environments.EnvironmentFailed as error:
                left_out |= {system.name: str(error) for system in chosen if system.library == library}
    for name, why in left_out.items():
        errors.print(f"{name} is left out: {why}", markup=False, soft_wrap=True)
    possible = [system for system in chosen if system.name not in left_out]
    if left_out and (by_name or not possible):
        sys.exit(1)
    return possible


def _list(console: Console) -> None:
    console.print("Workloads (* by default):")
    for workload in WORKLOADS.values():
        console.print(f" {'*' if workload.default else ' '} {workload.name:<28} {workload.title}", highlight=False)
    console.print("Systems (* by default):")
    for system in SYSTEMS.values():
        pins = ", ".join(f"{package} {version}" for package, version in environments.versions(system.library))
        console.print(f" {'*' if system in DEFAULT else ' '} {system.name:<28} {pins}", highlight=False, soft_wrap=True)


def _print(console: Console, table: Table) -> None:
    shown = RichTable(title=table.title, title_justify="left", box=SIMPLE_HEAD)
    for number, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
    for note in table.notes:
        console.print(f"  {note}", highlight=False)


def _as_json(campaign: Campaign, began_at: datetime) -> dict[str, Any]:
    libraries = dict.fromkeys(system.library for system in campaign.systems)
    return {
        "began_at": began_at.isoformat(),
        "machine": {
            "processors": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "load": os.getloadavg(),
        },
        "versions": {library: dict(environments.versions(library)) for library in libraries},
        "counts": campaign.counts,
        "rounds": campaign.figures.as_json(),
        "failures": campaign.failures,
    }


def _stop(_number: int, _frame: object) -> None:
    sys.exit(143)  # as for Ctrl-C, everything is taken down on the way out


if __name__ == "__main__":
    main()
