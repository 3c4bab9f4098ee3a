"""`python -m bench`: measure Celeriac beside its peers and the bare loop, on private brokers, and print tables."""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from bench import markdown, record, servers, svg
from bench.campaign import Campaign
from bench.catalogue import DEFAULT, SYSTEMS
from bench.choice import choose, possible
from bench.goals import GOALS, GUARD_COUNTS, GUARD_SYSTEMS, GUARDED, judge
from bench.progress import Progress
from bench.report import BASELINES, Report, Table, goals_table
from bench.screen import Screen
from bench.workloads import WORKLOADS
from bench.workloads.base import Workload

EXAMPLES = """\b
Examples:
  make bench
  make bench ARGS="--list"
  make bench ARGS="-w drain -s celeriac-redis -s bare-redis -s dramatiq-redis -n 20000 -r 5"
  make bench ARGS="--short --json figures.json"
  make bench ARGS="--from figures.json --markdown docs/benchmarks.md --svg docs/benchmarks"
  make bench ARGS="--guard"
"""
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(epilog=EXAMPLES)
@click.option("-w", "--workload", "workloads", multiple=True, metavar="NAME", help="Default: those marked by --list.")
@click.option("-s", "--system", "systems", multiple=True, metavar="NAME", help="Default: those marked by --list.")
@click.option("-n", "--tasks", "count", type=click.IntRange(min=20), help="Tasks of a round, for every workload.")
@click.option(
    "-r", "--rounds", type=click.IntRange(min=1), help="Rounds of each. Default: 3, or 1 where one takes long."
)
@click.option("--short", is_flag=True, help="Fewer tasks: to see that all works, rather than to measure.")
@click.option(
    "-b",
    "--baseline",
    "baselines",
    multiple=True,
    type=click.Choice(list(BASELINES)),
    help="What figures are set beside, on the same broker. Default: all.",
)
@click.option("--list", "listing", is_flag=True, help="Say what can be measured, and with what.")
@click.option("--guard", is_flag=True, help="Only compare with the bare loop, and fail if a ratio has fallen too low.")
@click.option("--json", "json_file", type=FILE, help="Write every figure there.")
@click.option("--from", "told", type=FILE, multiple=True, help="Measure nothing: report what --json has written there.")
@click.option(
    "--markdown", "markdown_file", type=FILE, help="Write the tables there, between the marks if it has them."
)
@click.option("--svg", "svg_directory", type=click.Path(file_okay=False, path_type=Path), help="Write charts there.")
def main(
    workloads: tuple[str, ...],
    systems: tuple[str, ...],
    count: int | None,
    rounds: int | None,
    short: bool,
    baselines: tuple[str, ...],
    listing: bool,
    guard: bool,
    json_file: Path | None,
    told: tuple[Path, ...],
    markdown_file: Path | None,
    svg_directory: Path | None,
) -> None:
    """Measure on private brokers, round after round with the systems taking turns; nothing is left running."""
    signal.signal(signal.SIGTERM, _stop)
    errors = Console(stderr=True)
    progress = Progress(errors)
    screen = Screen()
    if listing:
        screen.list_all()
        sys.exit()
    records: list[record.Record]
    if told:
        campaign, records = record.read(told)
    else:
        default_systems = [SYSTEMS[name] for name in GUARD_SYSTEMS] if guard else DEFAULT
        default_workloads = [one for one in WORKLOADS.values() if (one.name in GUARD_COUNTS if guard else one.default)]
        wanted = choose("workload", WORKLOADS, workloads, default_workloads)
        chosen = choose("system", SYSTEMS, systems, default_systems)
        usual = GUARD_COUNTS if guard else {}
        counts = {one.name: one.short_count if short else usual.get(one.name, one.count) for one in wanted}
        campaign = Campaign(
            wanted,
            possible(chosen, bool(systems), progress.say),
            counts if count is None else dict.fromkeys(counts, count),
            {one.name: rounds or one.rounds for one in wanted},
        )
    report = Report(campaign.systems, campaign.figures, baselines or tuple(BASELINES))
    tables: list[Table] = []

    def show(workload: Workload) -> None:
        table = report.workload(workload, campaign.counts[workload.name])
        if table is not None:
            tables.append(table)
            screen.show(table)

    if told:
        for workload in campaign.workloads:
            show(workload)
    else:
        began_at = datetime.now(UTC)
        brokers = servers.Servers()
        try:
            with brokers, progress:
                campaign.play(brokers, progress, show)
        finally:  # what was measured before it was stopped is not lost
            records = [record.make(campaign, began_at, brokers.versions)]
            if json_file is not None:
                record.write(records[0], json_file)
    judged = list(judge(GUARDED if guard else GOALS, campaign.systems, campaign.figures))
    goals = goals_table("Bounds of the guard" if guard else "Goals", judged)
    if goals.rows:
        tables.append(goals)
        screen.show(goals)
    charts = []
    if svg_directory is not None:
        charts = list(svg.write(svg_directory, campaign.workloads, campaign.systems, campaign.figures))
    if markdown_file is not None:
        about = [line for one in records for line in record.about(one)]
        markdown.write(markdown.render(about, tables, charts, markdown_file), markdown_file)
    if campaign.failures:
        progress.say(f"{len(campaign.failures)} rounds failed, see above")
    if campaign.failures or (guard and not all(verdict.met for verdict in judged)):
        sys.exit(1)


def _stop(_number: int, _frame: object) -> None:
    sys.exit(143)  # as for Ctrl-C, everything is taken down on the way out


if __name__ == "__main__":
    main()
