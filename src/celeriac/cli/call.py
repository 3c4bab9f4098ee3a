"""`celeriac call`: send one call of a task."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import click

from celeriac.cli.errors import USAGE, CommandError
from celeriac.cli.output import print_json
from celeriac.cli.params import SECONDS, Json, Moment, SecondsOrMoment
from celeriac.cli.result import show_failure
from celeriac.cli.target import Target, target_options
from celeriac.client.app import Celeriac
from celeriac.client.options import CallOptions
from celeriac.client.result import AsyncResult
from celeriac.core import states
from celeriac.exceptions import ArgumentError, TimeoutError

EXAMPLES = """\b
Examples:
  celeriac -A shop call shop.add 2 2
  celeriac -A shop call shop.add --args '[2, 2]' --wait 10
  celeriac -A shop call shop.mail '"ann@example.org"' --kwargs '{"subject": "Hello"}' --countdown 60
  celeriac --broker redis://localhost/0 call shop.report --queue reports --expires 3600
"""


@click.command(epilog=EXAMPLES)
@target_options
@click.argument("name")
@click.argument("values", nargs=-1, type=Json(), metavar="[JSON]...")
@click.option("-a", "--args", type=Json(list, "[2, 2]"), metavar="JSON", help="Positional arguments, a JSON list.")
@click.option("-k", "--kwargs", type=Json(dict, '{"x": 2}'), metavar="JSON", help="Arguments by name, a JSON object.")
@click.option("--countdown", type=SECONDS, metavar="S", help="Not before so many seconds have passed.")
@click.option("--eta", type=Moment(), metavar="TIME", help="Not before this time (ISO 8601; UTC if it has no zone).")
@click.option("--expires", type=SecondsOrMoment(), metavar="S|TIME", help="Not after so many seconds, or this time.")
@click.option("--queue", metavar="NAME", help="Where it is to wait.")
@click.option(
    "--priority",
    type=click.IntRange(0, 255),
    help="Its place in the queue: 9 first, 0 last (see the setting task_priority_direction).",
)
@click.option("--wait", "wait_s", type=SECONDS, metavar="S", help="Wait for the result and print it instead of the id.")
@click.option("-f", "--force", is_flag=True, help="Send it even if the app knows no task of this name.")
@click.pass_context
def call(
    ctx: click.Context,
    /,
    *,
    name: str,
    values: Sequence[Any],
    args: list[Any] | None,
    kwargs: dict[str, Any] | None,
    wait_s: float | None,
    force: bool,
    **given: Any,
) -> None:
    """Call the task NAME and print the call's id.

    Arguments are JSON: either one by one behind the name, or with --args and --kwargs. With -A they are checked against the
    task's signature; with --broker alone the call is sent as it is.
    """
    if values and args is not None:
        raise click.UsageError("give positional arguments either behind the name or with --args, not both")
    if given["countdown"] is not None and given["eta"] is not None:
        raise click.UsageError("give either --countdown or --eta, not both")
    target = ctx.ensure_object(Target)
    app = target.any_app()
    if wait_s is not None and not app.backend.stores:
        raise CommandError("--wait needs a result backend: give the app one, or --result-backend URL", USAGE)
    with app:
        known = target.app_spec is not None and not force
        result = _send(app, name, args if args is not None else values, kwargs or {}, _options(given), known=known)
        if wait_s is None:
            click.echo(result.id)
        elif not _show(result, wait_s):
            ctx.exit(1)


def _options(given: dict[str, float | datetime | str | int | None]) -> CallOptions:
    # The types were checked when the command line was read.
    return cast("CallOptions", {name: value for name, value in given.items() if value is not None})


def _send(
    app: Celeriac, name: str, args: Sequence[Any], kwargs: dict[str, Any], options: CallOptions, *, known: bool
) -> AsyncResult[Any]:
    try:
        # A name that the app does not know raises NotRegistered, with the nearest one.
        return (
            app.tasks[name].apply_async(args, kwargs, **options)
            if known
            else app.send_task(name, args, kwargs, **options)
        )
    except ArgumentError as error:
        raise CommandError(str(error), USAGE) from None


def _show(result: AsyncResult[Any], wait_s: float) -> bool:
    """Print the result; False when the task failed."""
    try:
        value: object = result.get(wait_s, propagate=False)
    except TimeoutError:
        raise CommandError(
            f"call {result.id} has not ended after {wait_s:g} s; look again with: celeriac result {result.id}"
        ) from None
    if result.ignored or result.state not in states.EXCEPTION_STATES:
        print_json(value)
        return True
    show_failure(result.id, result.state, value, result.traceback, with_traceback=False)
    return False
