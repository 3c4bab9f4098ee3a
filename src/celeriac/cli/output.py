"""What commands print: tables for people, tab-separated lines for pipes, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from celeriac.cli.errors import CommandError
from celeriac.core.printable import one_line


class Column(NamedTuple):
    """One column of a table."""

    title: str
    right: bool = False
    """Numbers stand at the right."""
    style: str = ""


def on_terminal() -> bool:
    """Tell whether a person reads standard output."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Print one JSON text; what JSON does not know is printed as text."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if on_terminal() else None, default=str))


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on a terminal; elsewhere a line of titles and one line per row, with tabs in between."""
    cells = [[clean(str(cell)) for cell in row] for row in rows]
    if not on_terminal():
        for row in ([column.title for column in columns], *cells):
            click.echo("\t".join(row))
        return
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in columns:
        # Names are to be copied: a narrow terminal must not shorten them.
        table.add_column(column.title, justify="right" if column.right else "left", style=column.style, overflow="fold")
    for row in cells:
        # Text, not str: what stands in a message must not be taken for markup.
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line; values of several lines below their name."""
    pairs = [(name, str(value)) for name, value in fields]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        title = click.style(name.ljust(width), bold=True)
        if "\n" in value.rstrip():
            body = "\n".join(f"    {clean(line)}" for line in value.rstrip().split("\n"))
            click.echo(f"{title}\n{body}")
        else:
            click.echo(f"{title}  {clean(value.rstrip())}")


def note(text: str) -> None:
    """Tell something beside the output proper, on standard error."""
    click.echo(clean(text), err=True)


def confirm(question: str, refused: str = "nothing was deleted; to delete without being asked, give --force") -> None:
    """Ask a person; without a yes the command ends with the error `refused`."""
    try:
        click.confirm(question, abort=True)
    except click.Abort:
        click.echo(err=True)
        raise CommandError(refused) from None


def clean(text: str) -> str:
    """Make control characters harmless: a message may hold anything, a terminal obeys some of it."""
    return one_line(text)


def age(seconds: float | None) -> str:
    """Write a duration for people: `0.4 s`, `12 s`, `3 m 10 s`, `5 h 2 m`, `2 d 4 h`."""
    if seconds is None:
        return "-"
    seconds = max(seconds, 0.0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit_s, unit, smaller_s, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit_s:
            return f"{whole // unit_s} {unit} {whole % unit_s // smaller_s} {smaller}"
    return f"{whole} s"


def moment(timestamp: float | None) -> str:
    """Write a Unix time in this machine's zone, to the second."""
    if timestamp is None:
        return "-"
    return datetime.fromtimestamp(timestamp, UTC).astimezone().isoformat(sep=" ", timespec="seconds")


def iso(timestamp: float | None) -> str | None:
    """Write a Unix time for programs: ISO 8601, UTC."""
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC).isoformat()


def counted(number: int, noun: str) -> str:
    """Write `1 message`, `2 messages`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
