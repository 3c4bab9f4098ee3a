"""`celeriac queues` and `celeriac purge`: what waits, and how to get rid of it."""

from __future__ import annotations

from collections.abc import Collection

import click
from msgspec.structs import asdict

from celeriac.cli.output import Column, age, confirm, counted, print_json, print_table
from celeriac.cli.params import NAMES
from celeriac.cli.target import Target, target_options
from celeriac.client.app import Celeriac
from celeriac.core.ports import Admin

QUEUES_EXAMPLES = """\b
Examples:
  celeriac -A shop queues
  celeriac --broker redis://localhost/0 queues -Q mail,default
  celeriac -A shop queues --json | jq '.[] | select(.dead > 0)'
\b
Columns:
  ready    waits for a worker
  delayed  waits for its time: an ETA, a countdown, a retry
  claimed  is with a worker now
  dead     could not be run and was parked, see: celeriac dead list
  oldest   age of the message that is next
  -        the broker cannot tell
"""

PURGE_EXAMPLES = """\b
Examples:
  celeriac -A shop purge
  celeriac -A shop purge -Q mail --force
"""


@click.command(epilog=QUEUES_EXAMPLES)
@target_options
@click.option("-Q", "--queues", "names", type=NAMES, help="Only these, with commas.  [default: all known]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def queues(ctx: click.Context, *, names: tuple[str, ...] | None, as_json: bool) -> None:
    """Show how much waits in each queue, and for how long."""
    with ctx.ensure_object(Target).admin() as (app, admin):
        depths = admin.depths(names or known_queues(app, admin))
    if as_json:
        print_json([asdict(depth) for depth in depths])
        return
    columns = [
        Column("queue"),
        *(Column(name, right=True) for name in ("ready", "delayed", "claimed", "dead", "oldest")),
    ]
    rows = (
        (
            depth.queue,
            *(_known(number) for number in (depth.ready, depth.delayed, depth.claimed, depth.dead)),
            age(depth.oldest_age_s),
        )
        for depth in depths
    )
    print_table(columns, rows)


@click.command(epilog=PURGE_EXAMPLES)
@target_options
@click.option("-Q", "--queues", "names", type=NAMES, help="Which, with commas.  [default: the app's default queue]")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_context
def purge(ctx: click.Context, *, names: tuple[str, ...] | None, force: bool) -> None:
    """Delete what is ready or delayed in queues; what is claimed or parked stays."""
    with ctx.ensure_object(Target).admin() as (app, admin):
        chosen = names or (app.settings.task_default_queue,)
        if not force:
            _confirm(app, admin, chosen)
        for queue in chosen:
            click.echo(f"{queue}: {counted(admin.purge(queue), 'message')} deleted")


def _confirm(app: Celeriac, admin: Admin, chosen: Collection[str]) -> None:
    """Say what is going to be lost, and ask."""
    for depth in admin.depths(chosen):
        delayed = "" if depth.delayed is None else f", {depth.delayed} delayed"
        click.echo(f"{depth.queue}: {depth.ready} ready{delayed}")
    confirm(f"Delete them for good from {app.broker.shown_url()}?")


def _known(number: int | None) -> str:
    return "-" if number is None else str(number)


def known_queues(app: Celeriac, admin: Admin) -> list[str]:
    """Return the queues that the broker or the app knows, by name."""
    named = {task.queue for task in app.tasks.values() if task.queue}
    return sorted({*admin.queues(), app.settings.task_default_queue, *named})
