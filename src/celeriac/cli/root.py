"""The command `celeriac`: what all commands share."""

from __future__ import annotations

import difflib
import os
from typing import Any

import click

from celeriac import __version__
from celeriac.cli.call import call
from celeriac.cli.completion import completion
from celeriac.cli.dead import dead
from celeriac.cli.demo import demo
from celeriac.cli.errors import INTERRUPTED, as_command_error
from celeriac.cli.graph import graph
from celeriac.cli.outbox import outbox
from celeriac.cli.queues import purge, queues
from celeriac.cli.report import report
from celeriac.cli.result import result
from celeriac.cli.revoke import revoke
from celeriac.cli.target import APP_VARIABLE, Target, target_options
from celeriac.cli.torture import torture
from celeriac.cli.worker import worker
from celeriac.cli.workflows import workflows
from celeriac.exceptions import CeleriacError

EXAMPLES = """\b
Examples:
  celeriac -A shop worker -c 4 -Q default,mail
  celeriac -A shop call shop.add --args '[2, 2]' --wait 10
  celeriac --broker redis://localhost/0 queues
  celeriac demo
"""


class RootGroup(click.Group):
    """Duties: 1. tell errors in one line, with the exit code that fits; 2. help with a command that was misspelt."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except CeleriacError as error:
            raise as_command_error(error, with_traceback=bool(ctx.params.get("traceback"))) from None
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; one that does not exist is answered with the nearest that does."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.list_commands(ctx))}"
            ctx.fail(f"No such command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=RootGroup, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@target_options
@click.option("--traceback", is_flag=True, help="Show the program's own traceback with an error.")
@click.version_option(__version__, "--version", message="celeriac %(version)s")
@click.pass_context
def celeriac(ctx: click.Context, traceback: bool) -> None:
    """Run workers, call tasks, and look after queues."""
    target = ctx.ensure_object(Target)
    if target.app_spec is None:
        target.app_spec = os.environ.get(APP_VARIABLE) or None


for command in (
    worker,
    call,
    result,
    graph,
    revoke,
    queues,
    purge,
    dead,
    workflows,
    outbox,
    report,
    demo,
    torture,
    completion,
):
    celeriac.add_command(command)
