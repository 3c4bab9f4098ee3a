"""`celeriac result`: what became of a call."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from celeriac.cli.errors import FAILED, NOT_ENDED, USAGE, CommandError
from celeriac.cli.output import clean, note, print_json
from celeriac.cli.params import SECONDS
from celeriac.cli.target import Target, target_options
from celeriac.client.result import AsyncResult
from celeriac.core import states
from celeriac.exceptions import TimeoutError

EXAMPLES = """\b
Examples:
  celeriac -A shop result 01980a5c-9f5b-7c3e-b1d5-0f2f6b8c4a10
  celeriac -A shop result 01980a5c-9f5b-7c3e-b1d5-0f2f6b8c4a10 --wait 30 --traceback
  celeriac --result-backend redis://localhost/1 --broker redis://localhost/0 result ID --json
\b
Exit codes:
  0 it succeeded    1 it failed or was revoked    2 wrong options    3 it has not ended (or nobody knows the id)
"""


@click.command(epilog=EXAMPLES)
@target_options
@click.argument("task_id", metavar="ID")
@click.option("--wait", "wait_s", type=SECONDS, metavar="S", help="Wait until it has ended, so long at most.")
@click.option("--traceback", is_flag=True, help="Print the traceback of a task that failed.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known as one JSON object.")
@click.pass_context
def result(ctx: click.Context, *, task_id: str, wait_s: float | None, traceback: bool, as_json: bool) -> None:
    """Print the result of the call ID as JSON."""
    target = ctx.ensure_object(Target)
    with target.any_app() as app:
        if not app.backend.stores:
            raise CommandError("results are not kept: the app has no result backend (see --result-backend)", USAGE)
        if app.reply_to is not None:
            raise CommandError(
                f"{app.backend.shown_url()} sends each result to the program that called the task: it cannot be read here",
                USAGE,
            )
        looked_up = app.AsyncResult(task_id)
        if wait_s is not None:
            with contextlib.suppress(TimeoutError):  # its state is told below
                looked_up.get(wait_s, propagate=False)
        ctx.exit(_show(looked_up, as_json=as_json, with_traceback=traceback))


def _show(found: AsyncResult[Any], *, as_json: bool, with_traceback: bool) -> int:
    """Print what is known and return the exit code."""
    state, value, trace = found.state, found.result, found.traceback
    code = 0 if state == states.SUCCESS else FAILED if state in states.PROPAGATE_STATES else NOT_ENDED
    if as_json:
        done = found.date_done
        error = isinstance(value, BaseException)
        print_json(
            {
                "id": found.id,
                "state": state,
                "result": None if error else value,
                "error": {"type": type(value).__name__, "message": str(value)} if error else None,
                "traceback": trace,
                "ended_at": done.isoformat() if done is not None else None,
            }
        )
    elif code == 0:
        print_json(value)
    elif code == FAILED:
        show_failure(found.id, state, value, trace, with_traceback=with_traceback)
    else:
        unknown = " (nobody has begun it, or the id is not known)" if state == states.PENDING else ""
        note(f"{found.id} has not ended: {state}{unknown}")
    return code


def show_failure(task_id: str, state: str, error: object, traceback: str | None, *, with_traceback: bool) -> None:
    """Tell on standard error what a task raised, with the worker's traceback if that is wanted."""
    if with_traceback and traceback:
        for line in traceback.rstrip().splitlines():
            note(line)
    elif isinstance(error, BaseException):
        click.echo(click.style(f"{state} {task_id}: ", fg="red") + clean(f"{type(error).__name__}: {error}"), err=True)
    else:
        note(f"{state} {task_id}: {error}")
