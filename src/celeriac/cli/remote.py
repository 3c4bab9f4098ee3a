"""What `inspect`, `control` and `status` share: options, the workers' commands, and how their replies are shown."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from celeriac.cli.errors import USAGE, CommandError
from celeriac.cli.output import clean, print_json
from celeriac.cli.params import NAMES
from celeriac.cli.target import Target

if TYPE_CHECKING:
    from celeriac.worker.control.panel import Command, Kind, Panel

NOBODY: Final = 69
"""Exit code: no worker replied in time; Celery's, after EX_UNAVAILABLE of sysexits.h."""
SILENT: Final = frozenset({"shutdown"})
"""Commands that workers do without replying."""
NO_REPLY: Final = "No nodes replied within time constraint"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def remote_options(command: Decorated) -> Decorated:
    """Add the options that say which workers are meant, and how their replies are shown."""
    options = (
        click.option(
            "-t",
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            default=1.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for replies; with --destination no longer than the last of them takes.",
        ),
        click.option("-d", "--destination", type=NAMES, metavar="NODES", help="Only these nodes, with commas."),
        click.option("-p", "--pattern", metavar="GLOB", help="Only nodes whose name matches, as in 'celery@mail-*'."),
        click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def command_options(command: Decorated) -> Decorated:
    """Add what names a command of workers and its arguments, and `remote_options`."""
    command = click.argument("arguments", nargs=-1, type=click.UNPROCESSED)(command)
    command = click.argument("command", required=False)(command)
    command = click.option("--list", "wants_list", is_flag=True, help="List the commands, and end.")(command)
    return remote_options(command)


def _panel() -> type[Panel]:
    """Return the commands of workers: the built-in ones, and those of the app's own modules that are imported."""
    # Imported here: it takes 100 ms, which other commands need not wait. The import registers those that are built in.
    from celeriac.worker.control.answering import BUILT_IN
    from celeriac.worker.control.panel import Panel

    assert BUILT_IN
    return Panel


def _load_commands(target: Target) -> None:
    """Import the modules of the app that is named, for commands of its own; without one there are the built-in ones."""
    if target.app_spec is not None:
        target.any_app().import_default_modules()


def _commands_of(kind: Kind) -> dict[str, Command]:
    """Return the commands that only look, or those that change something, by name."""
    return {name: known for name, known in sorted(_panel().meta.items()) if known.type == kind and known.visible}


def list_commands(target: Target, kind: Kind) -> None:
    """Print what there is."""
    _load_commands(target)
    rows = [(f"{name} {known.signature or ''}".rstrip(), known.help) for name, known in _commands_of(kind).items()]
    formatter = click.HelpFormatter()
    with formatter.section(f"{kind.capitalize()} commands"):
        formatter.write_dl(rows)
    click.echo(formatter.getvalue(), nl=False)


def find_command(kind: Kind, name: str) -> Command:
    """Return a command; one that does not exist is answered with the nearest that does."""
    known = _commands_of(kind)
    if name in known:
        return known[name]
    other = "control" if kind == "inspect" else "inspect"
    if name in _panel().meta:
        raise click.UsageError(f"{name!r} is a command of `celeriac {other}`")
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise click.UsageError(f"no such command {name!r}; {hint} Commands of the program's own need -A.")


def read_arguments(target: Target, kind: Kind, name: str, given: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a command of workers by name, from those of the command line."""
    _load_commands(target)
    return arguments_of(name, find_command(kind, name), given)


def arguments_of(name: str, known: Command, given: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a command by name, from those of the command line."""
    arguments: dict[str, Any] = {}
    rest = list(given)
    for (argument, read), text in zip(known.args, given, strict=False):
        try:
            arguments[argument] = read(text)
        except ValueError as error:
            raise click.UsageError(f"{name}: {argument}={text!r}: {error}") from None
        rest.pop(0)
    if known.variadic is not None:
        arguments[known.variadic] = rest
    elif rest:
        takes = f"takes {known.signature}" if known.signature else "takes no arguments"
        raise click.UsageError(f"{name} {takes}; {rest[0]!r} is too much")
    return arguments


def show_reply(reply: dict[str, Any], *, body: bool = True) -> None:
    """Print what one node replied, as Celery does: `->  node: OK`, and what it said below."""
    for node, payload in reply.items():
        status, text = _pretty(payload)
        click.echo(f"{click.style('->', bold=True)}  {click.style(clean(f'{node}:'), fg='cyan', bold=True)} {status}")
        if body:
            click.echo("\n".join(f"    {clean(line)}" for line in text.split("\n")))


def those_meant(destination: tuple[str, ...] | None, pattern: str | None) -> dict[str, Any]:
    """Return what says to which workers a request is sent, from the options of `remote_options`."""
    nodes = list(destination) if destination else None
    return {"destination": nodes, "pattern": pattern, "matcher": "glob" if pattern else None}


def show_replies(replies: Any, *, as_json: bool, counted: bool = True) -> None:
    """Print as JSON what all have replied, or, where each was shown as it came and they are `counted`, how many that were.

    Where nobody did, because workers are away, or too busy, or others than was thought, it ends the command.
    """
    if not replies:
        raise CommandError(NO_REPLY, NOBODY)
    if as_json:
        print_json(replies)
    elif counted:
        click.echo(f"\n{len(replies)} {'node' if len(replies) == 1 else 'nodes'} online.")


def bad_request(error: Exception) -> NoReturn:
    """End the command: what was asked for can't be sent."""
    raise CommandError(str(error), USAGE) from None


def _pretty(payload: Any) -> tuple[str, str]:
    ok, failed = click.style("OK", fg="green", bold=True), click.style("ERROR", fg="red", bold=True)
    match payload:
        case {"ok": said}:
            return ok, _text(said)
        case {"error": said}:
            return failed, _text(said)
    return ok, _text(payload)


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case []:
            return "- empty -"
        case list() if all(isinstance(one, str) for one in value):
            return "\n".join(f"* {one}" for one in value)
    return json.dumps(value, sort_keys=True, indent=4, ensure_ascii=False, default=str)
