"""`celeriac control`: tell workers what to do."""

from __future__ import annotations

import click

from celeriac.cli import remote
from celeriac.cli.target import Target, target_options
from celeriac.exceptions import ArgumentError

EXAMPLES = """\b
Examples:
  celeriac -A shop control enable_events
  celeriac -A shop control pool_grow 2 -d celery@mail-1
  celeriac -A shop control add_consumer mail
  celeriac -A shop control rate_limit shop.mail.send 100/m
"""


@click.command(epilog=EXAMPLES)
@target_options
@remote.command_options
@click.pass_context
def control(
    ctx: click.Context,
    *,
    command: str | None,
    arguments: tuple[str, ...],
    timeout: float,
    destination: tuple[str, ...] | None,
    pattern: str | None,
    as_json: bool,
    wants_list: bool,
) -> None:
    """Tell workers what to do: send them the control command COMMAND; --list says which there are.

    It holds for workers that run now; for those of Celery as well.  Exit code 69 when nobody replies.
    """
    target = ctx.ensure_object(Target)
    if wants_list or command is None:
        remote.list_commands(target, "control")
        return
    with target.any_app() as app:
        given = remote.read_arguments(target, "control", command, arguments)
        try:
            replies = app.control.broadcast(
                command,
                arguments=given,
                reply=command not in remote.SILENT,
                timeout=timeout,
                **remote.those_meant(destination, pattern),
                callback=None if as_json else remote.show_reply,
            )
        except ArgumentError as error:
            remote.bad_request(error)
    if command in remote.SILENT:
        click.echo(f"{command}: sent; workers do not reply to it, see: celeriac status")
        return
    remote.show_replies(replies, as_json=as_json, counted=False)
