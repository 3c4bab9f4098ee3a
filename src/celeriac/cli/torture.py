"""`celeriac torture`: the guarantees, seen while things break."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from celeriac.cli.errors import FAILED
from celeriac.cli.output import Column, clean, counted, note, on_terminal, print_json, print_table
from celeriac.cli.params import POSITIVE

EXAMPLES = """\b
Examples:
  celeriac torture --list
  celeriac torture kill-tree
  celeriac torture storm --on redis --seeds 20
  celeriac torture --all --short
  celeriac torture kill-tree --system celeriac --system celery
"""


@click.command(epilog=EXAMPLES)
@click.argument("scenarios", nargs=-1)
@click.option("--all", "all_of_them", is_flag=True, help="Every scenario, on every broker that it applies to.")
@click.option("--list", "only_list", is_flag=True, help="Say what scenarios there are, and what must hold in each.")
@click.option("--on", "places", multiple=True, metavar="BROKER", help="Only on this one: redis, rabbitmq or sqlite.")
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="NAME",
    help="Which task queue; several to compare.  [default: celeriac]",
)
@click.option("--short", is_flag=True, help="A tenth of the tasks and faults.")
@click.option("--scale", type=click.FloatRange(0.01, 1000), help="So many times the tasks and faults.  [default: 1]")
@click.option("--seed", type=int, default=1, show_default=True, help="Decides what is broken when.")
@click.option("--seeds", type=POSITIVE, default=1, show_default=True, help="Repeat with so many seeds.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep logs and journals in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def torture(
    ctx: click.Context,
    *,
    scenarios: Sequence[str],
    all_of_them: bool,
    only_list: bool,
    places: Sequence[str],
    systems: Sequence[str],
    short: bool,
    scale: float | None,
    seed: int,
    seeds: int,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Break brokers, workers and connections, and count what becomes of the tasks.

    Starts servers of its own on free ports, and touches none that runs already; redis-server and rabbitmq-server have to be
    installed for what is played on them.  The tasks themselves write down when they begin and end, and the table is counted
    from that: nothing may be lost or stuck, and nothing may run twice but what was running when something broke.

    Ends with code 1 if anything did not hold.
    """
    from celeriac.torture.plan import plan_of
    from celeriac.torture.play import SHORT
    from celeriac.torture.scenarios import SCENARIOS

    if only_list:
        _list(SCENARIOS, as_json=as_json)
        return
    if not (scenarios or all_of_them):
        raise click.UsageError("name scenarios, or give --all; --list tells what there is")
    if short and scale is not None:
        raise click.UsageError("--short is a scale of its own: give one of --short and --scale")
    try:
        plan = plan_of(scenarios, places, systems, range(seed, seed + seeds))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    found = []
    with _progress(len(plan)) as tell:
        for run in plan:
            tell.begins(run.title)
            finding = run.play(scale=SHORT if short else (scale or 1.0), say=tell.says, keep=keep)
            found.append(finding)
            tell.ends(finding)
    if as_json:
        print_json([{**msgspec.to_builtins(finding), "holds": finding.holds} for finding in found])
    else:
        _print(found)
    if not all(finding.holds for finding in found):
        ctx.exit(FAILED)


def _list(scenarios: Sequence[Any], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {"name": one.name, "title": one.title, "goal": one.goal, "places": one.places, "for_all": one.for_all}
                for one in scenarios
            ]
        )
        return
    columns = [Column("scenario"), Column("what is done"), Column("what must hold"), Column("on")]
    print_table(columns, ((one.name, one.title, one.goal, ", ".join(one.places)) for one in scenarios))


# -- while it runs -----------------------------------------------------------------------------------------------------


class _Teller(Protocol):
    def begins(self, title: str) -> None: ...
    def says(self, text: str) -> None: ...
    def ends(self, finding: Any) -> None: ...


class _Lines:
    """Tells a pipe: a line for each run that has ended."""

    def begins(self, title: str) -> None:
        """Say nothing yet."""

    def says(self, text: str) -> None:
        """Leave out what is only of the moment."""

    def ends(self, finding: Any) -> None:
        """Tell how a run has ended."""
        note(f"{_subject(finding)}: {_verdict(finding)} ({finding.seconds:.0f} s)")


class _Bar:
    """Tells a person: how many runs are over, and what happens now."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=count)
        self._title = ""

    def begins(self, title: str) -> None:
        """Show which run it is."""
        self._title = title
        self._progress.update(self._task, description=title)

    def says(self, text: str) -> None:
        """Show what is done in it."""
        self._progress.update(self._task, description=f"{self._title}: {clean(text)}")

    def ends(self, finding: Any) -> None:
        """Count it, and tell at once what did not hold."""
        self._progress.update(self._task, advance=1)
        if not finding.holds:
            self._progress.console.print(Text(f"{_subject(finding)}: {_verdict(finding)}", style="red"))


@contextmanager
def _progress(count: int) -> Iterator[_Teller]:
    console = Console(stderr=True, highlight=False)
    if not (on_terminal() and console.is_terminal):
        yield _Lines()
        return
    columns = (
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(20),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress, count)


# -- afterwards --------------------------------------------------------------------------------------------------------


def _subject(finding: Any) -> str:
    return f"{finding.scenario} on {finding.place}, {finding.system}, seed {finding.seed}"


def _verdict(finding: Any) -> str:
    if finding.left_out:
        return f"left out: {clean(finding.left_out)}"
    if finding.error:
        return clean(finding.error.strip().splitlines()[-1])
    return "; ".join(check.what for check in finding.checks if not check.holds) or "holds"


def _print(found: Sequence[Any]) -> None:
    numbers = ("sent", "refused", "done", "lost", "stuck", "doubled", "in flight", "recovery")
    columns = [Column("scenario"), Column("on"), Column("system"), Column("seed", right=True)]
    columns += [*(Column(title, right=True) for title in numbers), Column("verdict")]
    print_table(columns, map(_row, found))
    failed = [finding for finding in found if not finding.holds]
    note(f"{counted(len(found), 'run')}, {len(failed) or 'none'} of them not as it must be")


def _row(finding: Any) -> Sequence[object]:
    tally = finding.tally
    counts: Sequence[object] = ("-",) * 8
    if tally is not None:
        recovery = "-" if tally.recovery_s is None else f"{tally.recovery_s:.1f} s"
        counts = (tally.submitted, tally.refused, tally.completed, tally.lost, tally.stuck)
        counts = (*counts, tally.duplicated, tally.in_flight, recovery)
    return (finding.scenario, finding.place, finding.system, finding.seed, *counts, _verdict(finding))
