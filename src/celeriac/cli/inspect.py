"""`celeriac inspect`: ask workers what they do."""

from __future__ import annotations

import click

from celeriac.cli import remote
from celeriac.cli.target import Target, target_options
from celeriac.exceptions import ArgumentError

EXAMPLES = """\b
Examples:
  celeriac -A shop inspect active
  celeriac --broker redis://localhost/0 inspect stats --json
  celeriac -A shop inspect query_task 01980a5c-9f5b-7c3e-b1d5-0f2f6b8c4a10
  celeriac -A shop inspect ping -d celery@$HOSTNAME        # exit code 69: it does not reply
"""


@click.command(epilog=EXAMPLES)
@target_options
@remote.command_options
@click.pass_context
def inspect(
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
    """Ask workers what they do: send them the inspect command COMMAND; --list says which there are.

    Workers of Celery reply as well.  Exit code 69 when nobody does.
    """
    target = ctx.ensure_object(Target)
    if wants_list or command is None:
        remote.list_commands(target, "inspect")
        return
    with target.any_app() as app:
        given = remote.read_arguments(target, "inspect", command, arguments)
        asking = app.control.inspect(
            timeout=timeout,
            **remote.those_meant(destination, pattern),
            callback=None if as_json else remote.show_reply,
        )
        try:
            replies = asking._request(command, **given)
        except ArgumentError as error:
            remote.bad_request(error)
    remote.show_replies(replies, as_json=as_json)
