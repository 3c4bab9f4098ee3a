"""`celeriac schedule`: what is due when, and changing it while schedulers run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any

import click

from celeriac.beat import Schedule
from celeriac.beat.operations import Line
from celeriac.cli.errors import USAGE, CommandError
from celeriac.cli.output import Column, note, print_json, print_table
from celeriac.cli.params import POSITIVE, SECONDS, Json
from celeriac.cli.target import Target, target_options
from celeriac.client.app import Celeriac
from celeriac.core.schedules.ticks import MISFIRES
from celeriac.exceptions import ParseException, SchedulingError
from celeriac.schedules import crontab, solar
from celeriac.schedules import schedule as interval

EXAMPLES = """\b
Examples:
  celeriac -A shop schedule list
  celeriac -A shop schedule next nightly -n 5
  celeriac -A shop schedule run nightly
  celeriac -A shop schedule pause nightly
  celeriac -A shop schedule add mails --task shop.mail --cron '*/5 9-17 * * mon-fri' --tz Europe/Berlin
  celeriac -A shop schedule remove mails
"""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(epilog=EXAMPLES)
def schedule() -> None:
    """Look at the schedule, and change it while schedulers run.

    What is changed here is kept in the store that schedulers share, and seen by them within some seconds.
    """


@contextmanager
def _opened(ctx: click.Context) -> Iterator[tuple[Celeriac, Schedule]]:
    app = ctx.ensure_object(Target).app("whose schedule it is")
    try:
        with Schedule(app) as found:
            yield app, found
    except SchedulingError as error:
        raise CommandError(str(error), USAGE) from None
    finally:
        app.close()


@schedule.command("list")
@target_options
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List all entries, and when each is due next."""
    with _opened(ctx) as (_app, found):
        lines = found.lines()
        place = found.shown_place
    if as_json:
        print_json([_plain(line) for line in lines])
        return
    columns = [Column(title) for title in ("entry", "task", "schedule", "next", "last")]
    columns += [Column("runs", right=True), Column("state"), Column("from")]
    print_table(columns, (_row(line) for line in lines))
    note(f"remembered in {place}")


@schedule.command("next")
@target_options
@click.argument("name", required=False)
@click.option("-n", "--count", type=POSITIVE, default=10, show_default=True, help="So many ticks.")
@json_option
@click.pass_context
def next_(ctx: click.Context, *, name: str | None, count: int, as_json: bool) -> None:
    """Show the coming ticks of one entry, or of all, each with its time zone."""
    with _opened(ctx) as (_app, found):
        names = [name] if name is not None else [line.entry.name for line in found.lines() if line.is_on]
        coming = [(tick, one) for one in names for tick in islice(found.coming(one), count)]
    coming = sorted(coming, key=lambda one: one[0].timestamp())[:count]
    if as_json:
        print_json([{"at": tick.isoformat(), "zone": str(tick.tzinfo), "entry": one} for tick, one in coming])
        return
    print_table([Column("at"), Column("zone"), Column("entry")], ((_time(at), at.tzinfo, one) for at, one in coming))


@schedule.command()
@target_options
@click.argument("name")
@click.pass_context
def run(ctx: click.Context, *, name: str) -> None:
    """Send an entry's task now, and print the task id; its schedule goes on unchanged."""
    with _opened(ctx) as (_app, found):
        click.echo(found.run(name))


@schedule.command()
@target_options
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.pass_context
def pause(ctx: click.Context, *, names: tuple[str, ...]) -> None:
    """Send entries no more until they are resumed; ticks in between are left out."""
    with _opened(ctx) as (_app, found):
        for name in names:
            click.echo(f"{name}: {'paused' if found.pause(name) else 'was paused already'}")


@schedule.command()
@target_options
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.pass_context
def resume(ctx: click.Context, *, names: tuple[str, ...]) -> None:
    """Send paused entries again, from now on."""
    with _opened(ctx) as (_app, found):
        for name in names:
            click.echo(f"{name}: {'resumed' if found.resume(name) else 'was not paused'}")


@schedule.command()
@target_options
@click.argument("name")
@click.option("--task", required=True, metavar="TASK", help="Name of the task.")
@click.option("--cron", metavar="LINE", help="Minute, hour, day of month, month, day of week: '*/5 9-17 * * mon-fri'.")
@click.option("--tz", metavar="ZONE", help="Zone whose clocks --cron means.  [default: the app's]")
@click.option("--every", "every_s", type=SECONDS, metavar="S", help="Every S seconds.")
@click.option("--solar", "sun", nargs=3, type=str, metavar="EVENT LAT LON", help="As in: --solar sunset 52.5 13.4")
@click.option("-a", "--args", type=Json(list, "[2, 2]"), metavar="JSON", help="Positional arguments, a JSON list.")
@click.option("-k", "--kwargs", type=Json(dict, '{"x": 2}'), metavar="JSON", help="Arguments by name, a JSON object.")
@click.option("-o", "--options", type=Json(dict, '{"queue": "mail"}'), metavar="JSON", help="Options of apply_async.")
@click.option("--misfire", type=click.Choice(MISFIRES), help="What becomes of missed ticks.  [default: beat_misfire]")
@click.option("--jitter", type=SECONDS, metavar="S", help="Send each up to S seconds late.")
@click.option("--expires", type=SECONDS, metavar="S", help="Each run expires after S seconds.")
@click.option("--replace", "replacing", is_flag=True, help="Take the place of an entry of this name.")
@click.option("-f", "--force", is_flag=True, help="Add it even if the app knows no task of this name.")
@click.pass_context
def add(ctx: click.Context, /, *, name: str, replacing: bool, force: bool, **given: Any) -> None:
    """Add an entry to the store."""
    entry = {"task": given["task"], "schedule": _schedule(given)}
    entry |= {
        key: given[key]
        for key in ("args", "kwargs", "options", "misfire", "jitter", "expires")
        if given[key] is not None
    }
    with _opened(ctx) as (app, found):
        if given["task"] not in app.tasks and not force:
            raise CommandError(f"the app knows no task {given['task']!r}; to add it all the same, give --force", USAGE)
        found.add(name, entry, replacing=replacing)
    click.echo(f"{name}: added")


@schedule.command()
@target_options
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, *, name: str) -> None:
    """Take an entry that was added out of the store."""
    with _opened(ctx) as (_app, found):
        found.remove(name)
    click.echo(f"{name}: removed")


def _schedule(given: dict[str, Any]) -> Any:
    """Return the schedule that the options mean."""
    if sum(given[way] is not None for way in ("cron", "every_s", "sun")) != 1:
        raise CommandError("say when: one of --cron, --every and --solar", USAGE)
    if given["tz"] and not given["cron"]:
        raise CommandError("--tz says whose clocks --cron means; an interval and the sun need none", USAGE)
    try:
        if given["cron"] is not None:
            return crontab.from_string(given["cron"], tz=given["tz"])
        if given["every_s"] is not None:
            return interval(given["every_s"])
        event, lat, lon = given["sun"]
        return solar(event, float(lat), float(lon))
    except ParseException as error:
        raise CommandError(str(error), USAGE) from None
    except ValueError:
        raise CommandError("--solar takes an event and two numbers, as in: --solar sunset 52.5 13.4", USAGE) from None


def _row(line: Line) -> tuple[object, ...]:
    state = line.state
    ran = state is not None and state.runs > 0
    return (
        line.entry.name,
        line.entry.task,
        _said(line.entry.schedule),
        _time(line.next_at),
        _time(state.last_tick) if state is not None and ran else "-",
        0 if state is None else state.runs,
        _state(line),
        line.entry.source,
    )


def _plain(line: Line) -> dict[str, Any]:
    entry, state = line.entry, line.state
    return {
        "entry": entry.name,
        "task": entry.task,
        "schedule": _said(entry.schedule),
        "args": list(entry.args),
        "kwargs": dict(entry.kwargs),
        "options": dict(entry.options),
        "next": None if line.next_at is None else line.next_at.isoformat(),
        "last": state.last_tick.isoformat() if state is not None and state.runs else None,
        "runs": 0 if state is None else state.runs,
        "state": _state(line),
        "from": entry.source,
    }


def _state(line: Line) -> str:
    if not line.entry.enabled:
        return "disabled"
    return "paused" if not line.is_on else "over" if line.next_at is None else "on"


def _said(found: Any) -> str:
    match found:
        case crontab():
            return found.line() if found.own_zone is None else f"{found.line()} {found.own_zone}"
        case interval():
            return f"every {found.seconds:g} s"
        case solar():
            return f"{found.event} at {found.lat}, {found.lon}"
    return str(found)


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else moment.isoformat(sep=" ", timespec="seconds")
