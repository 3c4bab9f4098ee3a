"""`celeriac workflows`: the chords whose body has not run yet, and how to finish one that is stuck."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import click

from celeriac.cli.errors import USAGE, CommandError
from celeriac.cli.output import Column, age, clean, confirm, counted, iso, note, print_json, print_table
from celeriac.cli.params import POSITIVE, SECONDS
from celeriac.cli.target import Target, target_options
from celeriac.client import finishing
from celeriac.client.app import Celeriac
from celeriac.client.finishing import Finished
from celeriac.core.ports import ResultReader
from celeriac.core.stuck import is_complete, is_stuck, name_of, progress, result_id_of, what_is_missing
from celeriac.core.workflow import ChordState
from celeriac.exceptions import CeleriacError
from celeriac.wire import chord_part

LOOKED_AT: Final = 10_000
"""How many open workflows are looked through for those that are stuck."""

EXAMPLES = """\b
Examples:
  celeriac -A shop workflows
  celeriac -A shop workflows --stuck
  celeriac -A shop workflows --stuck --after 600 --json
  celeriac -A shop workflows finish 01980a5c-9f5b-7c3e-b1d5-0f2f6b8c4a10
"""


@click.group(epilog=EXAMPLES, invoke_without_command=True)
@target_options
@click.option("--stuck", "only_stuck", is_flag=True, help="Only those that have seen no progress for too long.")
@click.option(
    "--after",
    "after_s",
    type=SECONDS,
    metavar="S",
    help="How long that is.  [default: result_chord_stuck_after_s, an hour]",
)
@click.option("--limit", type=POSITIVE, default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def workflows(ctx: click.Context, *, only_stuck: bool, after_s: float | None, limit: int, as_json: bool) -> None:
    """List chords that are not over, those without progress for longest first.

    A chord is what runs a task with the results of a group; a group that is followed by something is one, too.  All of a chord's
    members are counted as they end, in whatever way.  One that never ends, because its queue has no worker or its message was
    deleted, keeps the chord waiting.
    """
    if ctx.invoked_subcommand is not None:
        return
    with _reading(ctx) as (app, reader):
        if after_s is None:
            after_s = app.settings.result_chord_stuck_after_s
        now = time.time()
        found = reader.chords(limit=LOOKED_AT if only_stuck else limit + 1)
        listed = [_Listed(app, state, now, after_s) for state in found]
    if only_stuck:
        listed = [one for one in listed if one.stuck]
    shown = listed[:limit]
    if as_json:
        print_json([one.as_dict() for one in shown])
    else:
        columns = [Column("id"), Column("body"), Column("ended", right=True), Column("last progress"), Column("state")]
        print_table(columns, (one.row() for one in shown))
        if not shown:
            note("no workflow is stuck" if only_stuck else "no workflow is open")
    if len(listed) > limit:
        note("there are more; see --limit")


@workflows.command()
@target_options
@click.argument("group_id", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def finish(ctx: click.Context, *, group_id: str, yes: bool) -> None:
    """Finish the workflow ID as if each member that has not ended had failed.

    Its body is sent if all members are there (or as many as min_successes asks for).  Else the body has failed, and its errbacks are
    called: those that take the error itself here, in this program.  Members that end later change nothing.
    """
    target = ctx.ensure_object(Target)
    target.app("so that errbacks can be called")
    with _reading(ctx) as (app, reader):
        state = next(iter(reader.chords([group_id])), None)
        if state is None:
            raise CommandError(f"no workflow {group_id!r} is open; see: celeriac workflows")
        if not yes:
            body = _body_of(app, state)
            name = name_of(body) if body else "a body that cannot be read"
            given_up = "" if is_complete(state) else "; those that have not ended will count as failed"
            confirm(
                f"{name}: {what_is_missing(state)}{given_up}. Finish it?",
                "nothing was changed; to finish it without being asked, give --yes",
            )
        for finished in finishing.finish(app, group_id):
            _tell(finished)


def _tell(finished: Finished) -> None:
    name = finished.body if finished.body_id is None else f"{finished.body}[{finished.body_id}]"
    if not finished.error:
        click.echo(f"workflow {finished.group_id}: {name} was sent")
        return
    errbacks = f"; {counted(finished.errbacks, 'errback')} called" if finished.errbacks else ""
    click.echo(clean(f"workflow {finished.group_id}: {name} has failed: {finished.error}{errbacks}"))


class _Listed:
    """A chord as it is shown."""

    def __init__(self, app: Celeriac, state: ChordState, now: float, stuck_after_s: float) -> None:
        self._state = state
        self._idle_s = max(0.0, now - state.updated_at)
        self._body = _body_of(app, state)
        self.stuck = is_stuck(state, now, stuck_after_s)

    def row(self) -> tuple[object, ...]:
        word = "stuck" if self.stuck else "complete" if is_complete(self._state) else "waiting"
        body = name_of(self._body) if self._body else "-"
        return self._state.group_id, body, progress(self._state), f"{age(self._idle_s)} ago", word

    def as_dict(self) -> dict[str, Any]:
        state = self._state
        return {
            "id": state.group_id,
            "body": name_of(self._body) if self._body else None,
            "body_id": result_id_of(self._body) if self._body else None,
            "size": state.size,
            "ended": state.ended,
            "progress": progress(state),
            "last_progress_at": iso(state.updated_at),
            "idle_s": round(self._idle_s, 3),
            "complete": is_complete(state),
            "claimed": state.claimed,
            "stuck": self.stuck,
        }


def _body_of(app: Celeriac, state: ChordState) -> chord_part.Signature | None:
    """Return the body's signature, None where it is not known, or cannot be read with what this app accepts."""
    try:
        return chord_part.decode_body(state.body, app.settings.accept_content, app.content.keys)
    except CeleriacError:
        return None


@contextmanager
def _reading(ctx: click.Context) -> Iterator[tuple[Celeriac, ResultReader]]:
    """Open the result backend, and close everything afterwards."""
    app = ctx.ensure_object(Target).any_app()
    try:
        if not app.backend.counts_chords:
            raise CommandError(
                f"{app.backend.shown_url()} does not count the members of chords, so there are none (see --result-backend)",
                USAGE,
            )
        with closing(app.backend.reader()) as reader:
            yield app, reader
    finally:
        app.close()
