"""`celeriac status`: which workers are there."""

from __future__ import annotations

from functools import partial

import click

from celeriac.cli import remote
from celeriac.cli.target import Target, target_options

EXAMPLES = """\b
Examples:
  celeriac -A shop status
  celeriac --broker redis://localhost/0 status --json
"""


@click.command(epilog=EXAMPLES)
@target_options
@remote.remote_options
@click.pass_context
def status(
    ctx: click.Context, *, timeout: float, destination: tuple[str, ...] | None, pattern: str | None, as_json: bool
) -> None:
    """Show which workers are online, those of Celery among them. Exit code 69 when none is."""
    with ctx.ensure_object(Target).any_app() as app:
        replies = app.control.inspect(
            timeout=timeout,
            **remote.those_meant(destination, pattern),
            callback=None if as_json else partial(remote.show_reply, body=False),
        ).ping()
    remote.show_replies(replies, as_json=as_json)
