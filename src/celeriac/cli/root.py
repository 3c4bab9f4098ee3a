"""The command `celeriac`: what all commands share."""

from __future__ import annotations

import difflib
import os
from typing import Any

import click

from celeriac import __version__, compat
from celeriac.cli.beat import beat
from celeriac.cli.call import call
from celeriac.cli.celery_options import celery_options
from celeriac.cli.completion import completion
from celeriac.cli.control import control
from celeriac.cli.dead import dead
from celeriac.cli.demo import demo
from celeriac.cli.errors import INTERRUPTED, as_command_error
from celeriac.cli.events import events
from celeriac.cli.graph import graph
from celeriac.cli.health import health
from celeriac.cli.inspect import inspect
from celeriac.cli.migrate import migrate
from celeriac.cli.multi import multi
from celeriac.cli.outbox import outbox
from celeriac.cli.queues import purge, queues
from celeriac.cli.report import report
from celeriac.cli.result import result
from celeriac.cli.revoke import revoke
from celeriac.cli.schedule import schedule
from celeriac.cli.status import status
from celeriac.cli.target import APP_VARIABLE, Target, target_options
from celeriac.cli.torture import torture
from celeriac.cli.worker import worker
from celeriac.cli.workflows import workflows
from celeriac.client.loading import AS_CELERY_VARIABLE
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
@celery_options
@click.option("--traceback", is_flag=True, help="Show the program's own traceback with an error.")
@click.option(
    "--as-celery",
    is_flag=True,
    envvar=AS_CELERY_VARIABLE,
    help=f"Run a program written for Celery as it is: `import celery` gives Celeriac.  [env: {AS_CELERY_VARIABLE}=1]",
)
@click.version_option(__version__, "--version", message="celeriac %(version)s")
@click.pass_context
def celeriac(ctx: click.Context, traceback: bool, as_celery: bool) -> None:
    """Run workers, call tasks, and look after queues."""
    if as_celery:
        compat.install()
    target = ctx.ensure_object(Target)
    if target.app_spec is None:
        target.app_spec = os.environ.get(APP_VARIABLE) or None


for command in (
    worker,
    beat,
    schedule,
    multi,
    call,
    result,
    graph,
    revoke,
    health,
    queues,
    purge,
    dead,
    workflows,
    outbox,
    inspect,
    control,
    status,
    events,
    report,
    migrate,
    demo,
    torture,
    completion,
):
    celeriac.add_command(command)
