"""Tables on standard output: drawn for a terminal, plain and never cut in a pipe."""

from __future__ import annotations

from typing import Final

from rich.box import ASCII2, SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable

from bench import environments
from bench.catalogue import DEFAULT, SYSTEMS
from bench.report import Table
from bench.workloads import WORKLOADS

WIDTH: Final = 220
"""Columns where there is no terminal: no figure is ever cut."""


class Screen:
    """Prints what people read."""

    def __init__(self) -> None:
        self._console = Console()
        if not self._console.is_terminal:
            self._console.width = WIDTH

    def show(self, table: Table) -> None:
        """Print a table."""
        box = SIMPLE_HEAD if self._console.is_terminal else ASCII2
        drawn = RichTable(box=box, show_edge=False)
        for number, column in enumerate(table.columns):
            drawn.add_column(
                column,
                justify="right" if number and table.is_numbers else "left",
                no_wrap=not self._console.is_terminal,
            )
        for row in table.rows:
            drawn.add_row(*row, style="bold" if row[0] in table.ours else "")
        self._say(table.title)
        self._console.print(drawn)
        for note in table.notes:
            self._say(f"  {note}")
        self._say("")

    def list_all(self) -> None:
        """Print what can be measured, and with what."""
        self._say("Workloads (* where none is named):")
        for workload in WORKLOADS.values():
            self._say(f" {'*' if workload.default else ' '} {workload.name:<26} {workload.title}")
        self._say("Systems (* where none is named), and what stands in their environments:")
        for system in SYSTEMS.values():
            pins = ", ".join(f"{package} {version}" for package, version in environments.versions(system.library))
            self._say(f" {'*' if system in DEFAULT else ' '} {system.name:<26} {pins}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
