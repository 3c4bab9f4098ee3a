"""`celeriac outbox`: what waits in the app's outbox, and a relay without a worker."""

from __future__ import annotations

import signal
import time

import click

from celeriac.cli.errors import USAGE, CommandError
from celeriac.cli.output import Column, age, confirm, counted, iso, moment, note, print_json, print_table
from celeriac.cli.target import Target, target_options
from celeriac.client.app import Celeriac
from celeriac.client.transactions import Outbox

EXAMPLES = """\b
Examples:
  celeriac -A shop outbox list
  celeriac -A shop outbox relay
  celeriac -A shop outbox relay --once
  celeriac -A shop outbox retry
  celeriac -A shop outbox purge 01a2034e-1299-7cf9-a963-16fdc75f9bc4
"""


@click.group(epilog=EXAMPLES)
def outbox() -> None:
    """Look after messages that wait in the program's database until their transaction is committed and they are published."""


@outbox.command()
@target_options
@click.option("--once", is_flag=True, help="Publish what waits now, and end.")
@click.pass_context
def relay(ctx: click.Context, *, once: bool) -> None:
    """Publish what the outbox holds, until a signal stops it. Workers do that by themselves, unless outbox_relay is off."""
    app, box = _outbox(ctx)
    made = box.relay()
    if once:
        click.echo(f"{counted(made.relay_all(), 'message')} relayed")
        app.close()
        return

    def stop(_signum: int, _frame: object) -> None:
        raise KeyboardInterrupt  # wakes the main thread, whoever asked

    signal.signal(signal.SIGTERM, stop)
    note("relaying the outbox; SIGTERM or Ctrl-C ends it")
    try:
        made.start()
        while True:
            signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        made.stop()
        app.close()


@outbox.command(name="list")
@target_options
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Show so many, the oldest.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def list_(ctx: click.Context, *, limit: int, as_json: bool) -> None:
    """Show what waits, the oldest first, and what was set aside because it can never be published."""
    _app, box = _outbox(ctx)
    state, rows = box.state(), box.peek(limit)
    now = time.time()
    oldest_age_s = None if state.oldest_at is None else now - state.oldest_at
    if as_json:
        messages = [
            {
                "id": row.task_id,
                "task": row.task,
                "queue": row.queue,
                "created_at": iso(row.created_at),
                "problem": row.problem,
            }
            for row in rows
        ]
        print_json(
            {
                "waiting": state.waiting,
                "set_aside": state.parked,
                "oldest_age_s": oldest_age_s,
                "messages": messages,
            }
        )
        return
    columns = [Column("id"), Column("task"), Column("queue"), Column("since"), Column("problem")]
    print_table(
        columns, ((row.task_id, row.task, row.queue, moment(row.created_at), row.problem or "-") for row in rows)
    )
    note(f"{counted(state.waiting, 'message')} wait, the oldest for {age(oldest_age_s)}; {state.parked} set aside")


@outbox.command()
@target_options
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.pass_context
def retry(ctx: click.Context, *, ids: tuple[str, ...]) -> None:
    """Let messages that were set aside be published after all: these tasks', or all."""
    _app, box = _outbox(ctx)
    click.echo(f"{counted(box.retry(ids), 'message')} put back")


@outbox.command()
@target_options
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="Delete everything.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_context
def purge(ctx: click.Context, *, ids: tuple[str, ...], everything: bool, force: bool) -> None:
    """Delete messages without publishing them: these tasks', or --all."""
    if bool(ids) == everything:
        raise CommandError("name the tasks whose messages are to be deleted, or give --all", USAGE)
    _app, box = _outbox(ctx)
    if not force:
        confirm(
            f"Delete {'all' if everything else len(ids)} messages for good, without publishing them?",
        )
    click.echo(f"{counted(box.purge(ids, everything=everything), 'message')} deleted")


def _outbox(ctx: click.Context) -> tuple[Celeriac, Outbox]:
    app = ctx.ensure_object(Target).app("whose outbox is meant")
    if app.outbox is None:
        raise CommandError(
            "the app has no outbox; with Django put 'celeriac.contrib.django' into INSTALLED_APPS, with SQLAlchemy set"
            " app.outbox",
            USAGE,
        )
    return app, app.outbox
