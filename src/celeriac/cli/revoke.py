"""`celeriac revoke`: have tasks not run, or end."""

from __future__ import annotations

import click

from celeriac.cli.errors import USAGE, CommandError
from celeriac.cli.output import counted
from celeriac.cli.target import Target, target_options
from celeriac.exceptions import ArgumentError

EXAMPLES = """\b
Examples:
  celeriac -A shop revoke 01980a5c-9f5b-7c3e-b1d5-0f2f6b8c4a10
  celeriac -A shop revoke ID ID --terminate
  celeriac --broker redis://localhost/0 revoke --terminate --signal KILL ID
  celeriac -A shop revoke --stamp tenant=acme
"""


@click.command(epilog=EXAMPLES)
@target_options
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--stamp", "stamps", metavar="NAME=VALUE", multiple=True, help="Every task with this stamp; repeatable.")
@click.option("-t", "--terminate", is_flag=True, help="Also end what runs.")
@click.option(
    "-s",
    "--signal",
    metavar="NAME",
    default="SIGTERM",
    show_default=True,
    help="With --terminate: what is sent to a task's process.",
)
@click.pass_context
def revoke(ctx: click.Context, *, ids: tuple[str, ...], stamps: tuple[str, ...], terminate: bool, signal: str) -> None:
    """Have no worker run the tasks with these IDs; with --terminate, end those that run.

    Workers that are not up now will hear of it when they start, for as long as task_revoke_expires_s says.
    """
    if not ids and not stamps:
        raise click.UsageError("name tasks by their id, or with --stamp NAME=VALUE")
    headers = _headers(stamps)
    with ctx.ensure_object(Target).any_app() as app:
        try:
            if ids:
                app.control.revoke(ids, terminate=terminate, signal=signal)
            if headers:
                app.control.revoke_by_stamped_headers(headers, terminate=terminate, signal=signal)
        except ArgumentError as error:
            raise CommandError(str(error), USAGE) from None
    what = [counted(len(set(ids)), "task")] if ids else []
    what += [f"tasks with {stamp}" for stamp in stamps]
    click.echo(f"revoked: {', '.join(what)}")


def _headers(stamps: tuple[str, ...]) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for stamp in stamps:
        name, found, value = stamp.partition("=")
        if not name or not found:
            raise click.BadOptionUsage("stamp", f"--stamp {stamp!r}: NAME=VALUE is wanted")
        headers.setdefault(name, []).append(value)
    return headers
