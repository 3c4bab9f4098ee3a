"""`celeriac events`: watch a cluster by its events."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from celeriac.cli.errors import USAGE, CommandError
from celeriac.cli.output import clean, note, on_terminal
from celeriac.cli.target import Target, target_options
from celeriac.client.app import Celeriac
from celeriac.client.events.snapshot import Polaroid, evcam

EXAMPLES = """\b
Examples:
  celeriac -A shop events                     # a live view; Ctrl-C ends it
  celeriac -A shop events --enable            # ... and have the workers tell of their tasks
  celeriac -A shop events --dump | grep task-failed
  celeriac -A shop events --json | jq .uuid
  celeriac -A shop events --camera shop.monitoring.Camera --freq 10
"""
_FIRST = ("type", "hostname", "timestamp")
_NOT_SHOWN = frozenset({*_FIRST, "local_received", "utcoffset"})


@click.command(epilog=EXAMPLES)
@target_options
@click.option("-d", "--dump", is_flag=True, help="Print each event as a line; so it is where nobody looks (a pipe).")
@click.option("-j", "--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@click.option("-c", "--camera", metavar="CLASS", help="Take pictures with this class (see `Polaroid`).")
@click.option(
    "-F", "--freq", "--frequency", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
    metavar="SECONDS", help="With --camera: time between pictures.",
)  # fmt: skip
@click.option("-r", "--maxrate", metavar="RATE", help="With --camera: no more pictures than that, as 10/m.")
@click.option(
    "-E", "--enable", is_flag=True, help="Have workers send events of tasks, until `celeriac control disable_events`."
)
@click.pass_context
def events(
    ctx: click.Context,
    *,
    dump: bool,
    as_json: bool,
    camera: str | None,
    freq: float,
    maxrate: str | None,
    enable: bool,
) -> None:
    """Watch workers and tasks by the events that they send, those of Celery's workers among them.

    Events of tasks are sent by workers that were started with -E, or told to: see --enable.
    """
    with ctx.ensure_object(Target).any_app() as app:
        if enable:
            app.control.enable_events()
        try:
            _watch(app, dump=dump, as_json=as_json, camera=camera, freq=freq, maxrate=maxrate)
        except KeyboardInterrupt:
            pass  # that is how one stops watching


def _watch(app: Celeriac, *, dump: bool, as_json: bool, camera: str | None, freq: float, maxrate: str | None) -> None:
    if camera is not None:
        kind = _camera(camera)
        note(f"taking pictures with {camera} every {freq:g} s")
        try:
            evcam(kind, freq, maxrate, app)
        except ValueError as error:
            raise CommandError(f"--maxrate {maxrate}: {error}", USAGE) from None
    elif as_json or dump or not on_terminal():
        app.events.Receiver(handlers={"*": _print_json if as_json else _print_line}).capture()
    else:
        from celeriac.cli.events_screen import watch

        watch(app)


def _print_line(event: dict[str, Any]) -> None:
    try:
        when = datetime.fromtimestamp(event["timestamp"], UTC).isoformat(timespec="milliseconds")
    except (KeyError, TypeError, ValueError, OverflowError, OSError):  # whoever sent it, the next one is shown
        when = "-"
    fields = " ".join(f"{name}={event[name]}" for name in sorted(event.keys() - _NOT_SHOWN) if event[name] is not None)
    click.echo(clean(f"{when} {event.get('hostname')} {event['type']} {fields}"))


def _print_json(event: dict[str, Any]) -> None:
    click.echo(json.dumps(event, ensure_ascii=False, default=str))


def _camera(path: str) -> Callable[..., Polaroid]:
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CommandError(f"--camera {path}: {error}; write it as module.Class", USAGE) from None
    if not (isinstance(found, type) and issubclass(found, Polaroid)):
        raise CommandError(f"--camera {path}: it is no subclass of celeriac.events.snapshot.Polaroid", USAGE)
    return found
