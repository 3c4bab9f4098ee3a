"""`celeriac graph`: how a workflow stands."""

from __future__ import annotations

import sys
import time
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from celeriac.cli import graph_drawing
from celeriac.cli.errors import NOT_ENDED, USAGE, CommandError
from celeriac.cli.output import note, on_terminal, print_json
from celeriac.cli.params import POSITIVE
from celeriac.cli.target import Target, target_options
from celeriac.client.app import Celeriac
from celeriac.client.workflow_graph import MAX_NODES, WorkflowGraph, read_graph

LOOKED_AGAIN_S: Final = 1.0

EXAMPLES = """\b
Examples:
  celeriac -A shop graph 01980a5c-9f5b-7c3e-b1d5-0f2f6b8c4a10
  celeriac -A shop graph 01980a5c-9f5b-7c3e-b1d5-0f2f6b8c4a10 --watch
  celeriac -A shop graph 01980a5c-9f5b-7c3e-b1d5-0f2f6b8c4a10 --format svg > workflow.svg
  celeriac -A shop graph - < as_tuple.json
\b
Exit codes:
  0 it was drawn    2 wrong options    3 nothing is known of this id
"""


@click.command(epilog=EXAMPLES)
@target_options
@click.argument("result_id", metavar="ID")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "dot", "svg"]),
    default="text",
    show_default=True,
    help="How to draw it.",
)
@click.option("--watch", is_flag=True, help="Draw it again every second, until it is over.")
@click.option("--limit", type=POSITIVE, default=MAX_NODES, show_default=True, help="Look up at most so many results.")
@click.option("--json", "as_json", is_flag=True, help="Print nodes and edges as one JSON object.")
@click.pass_context
def graph(ctx: click.Context, *, result_id: str, form: str, watch: bool, limit: int, as_json: bool) -> None:
    """Draw the workflow that the task or group ID belongs to, and how far it is.

    ID may be that of any task in it, or of a group that was saved or whose chord is open.  `-` reads the JSON of a result's
    `as_tuple()` from standard input, which tells of all of it.
    """
    target = ctx.ensure_object(Target)
    if watch and (as_json or form != "text"):
        raise CommandError("--watch draws text: leave out --format and --json", USAGE)
    start = sys.stdin.read() if result_id == "-" else result_id
    with target.any_app() as app:
        if not app.backend.stores or app.reply_to is not None:
            raise CommandError(
                f"{app.backend.shown_url()} keeps no results that could be looked up here: workflows are drawn from results",
                USAGE,
            )
        found = _read(app, start, limit)
        if watch:
            found = _watch(app, start, limit, found)
        elif as_json:
            print_json(graph_drawing.as_data(found))
        elif form == "text":
            _print(found)
        else:
            click.echo(graph_drawing.as_dot(found) if form == "dot" else graph_drawing.as_svg(found))
    if found.cut:
        note("there is more; see --limit")
    if not found.is_known:
        note(
            f"nothing is known of {found.start_id}: it has not begun, its results are deleted already, or it never was"
        )
        ctx.exit(NOT_ENDED)


def _read(app: Celeriac, start: str, limit: int) -> WorkflowGraph:
    try:
        return read_graph(app, start, max_nodes=limit)
    except ValueError as error:
        raise CommandError(str(error), USAGE) from None


def _watch(app: Celeriac, start: str, limit: int, found: WorkflowGraph) -> WorkflowGraph:
    """Draw it until it is over; return it as it is then."""
    while True:
        if on_terminal():
            click.clear()
        _print(found)
        if found.is_over:
            return found
        time.sleep(LOOKED_AGAIN_S)
        found = _read(app, start, limit)


def _print(found: WorkflowGraph) -> None:
    """Print the tree, with colours on a terminal."""
    lines = graph_drawing.as_text(found)
    if not on_terminal():
        for lead, title, _style, rest in lines:
            click.echo(f"{lead}{title}{rest}")
        return
    console = Console(highlight=False)
    for lead, title, style, rest in lines:
        console.print(Text.assemble((lead, "dim"), (title, style), (rest, "dim")), soft_wrap=True)
