"""`celeriac migrate`: what a program written for Celery uses that is otherwise here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click
import msgspec

from celeriac import compat
from celeriac.cli.output import Column, note, print_json, print_table
from celeriac.cli.target import Target, target_options
from celeriac.compat.migrate import Finding, of_program, of_tree
from celeriac.compat.migrate.finding import ORDER
from celeriac.exceptions import CeleriacError

EXAMPLES = """\b
Examples:
  celeriac migrate                     # the sources in this directory and below
  celeriac -A proj migrate src         # and the app's settings, which runs the program's modules
  celeriac migrate --json src tests | jq '.[] | select(.level == "stops")'
\b
Levels: stops (the program does not get beyond it), differs (it runs, and does something else), idle (no effect, and none needed).
The exit code is 1 when something stops the program, else 0.
"""

FOUND: Final = 1


@click.command(epilog=EXAMPLES)
@target_options
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--level", type=click.Choice(ORDER), default="idle", show_default=True, help="The least that is shown.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_context
def migrate(ctx: click.Context, *, paths: tuple[Path, ...], level: str, as_json: bool) -> None:
    """Report what a program written for Celery uses that is otherwise here.

    Nothing is changed; sources are read and not run.  With -A the app is imported, as `--as-celery` does it.
    """
    target = ctx.ensure_object(Target)
    findings = [*of_tree(paths or (Path(),)), *(_of_app(target) if target.app_spec is not None else ())]
    shown = _sorted(findings, ORDER[: ORDER.index(level) + 1])
    if as_json:
        print_json([msgspec.to_builtins(finding) for finding in shown])
    else:
        columns = [Column(title) for title in ("level", "where", "what", "with Celeriac", "instead")]
        if shown:
            print_table(columns, [[one.level, one.where, one.what, one.here, one.instead] for one in shown])
        note(_summary(findings))
    if any(finding.level == "stops" for finding in findings):
        ctx.exit(FOUND)


def _of_app(target: Target) -> Iterable[Finding]:
    compat.install()
    spec = target.app_spec or ""
    try:
        with target.app("whose settings are to be looked at") as app:
            return list(of_program(app, f"-A {spec}"))
    except CeleriacError as error:
        last = str(error).strip().splitlines()[-1]
        return [Finding("stops", f"-A {spec}", "importing the app", last, "see what is said of its imports")]


def _sorted(findings: Iterable[Finding], levels: tuple[str, ...]) -> list[Finding]:
    """Return each finding of these levels once, what stops the program first, then by files and lines."""

    def place(finding: Finding) -> tuple[int, str, int]:
        file, _, line = finding.where.rpartition(":")
        return ORDER.index(finding.level), file or line, int(line) if line.isdecimal() else 0

    return sorted({finding for finding in findings if finding.level in levels}, key=place)


def _summary(findings: list[Finding]) -> str:
    if not findings:
        return "nothing found that is otherwise here"
    counts = {level: sum(finding.level == level for finding in set(findings)) for level in ORDER}
    return ", ".join(f"{count} {level}" for level, count in counts.items() if count)
