"""What is shown while the demo runs: bars on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

PLAIN_EVERY_S: Final = 3.0
PIPE_WIDTH: Final = 1000


class Standing(Struct):
    """Where the run stands."""

    files: int
    pages: int
    files_done: int = 0
    pages_done: int = 0
    refused: int = 0
    """Requests that the web server failed."""


class Screen:
    """Shows progress and lines above it. Use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_line_at = 0.0
        self._bars: Progress | None = None
        self._files = self._pages = TaskID(0)
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description:<6}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
            )
            self._files = self._bars.add_task("files", total=None, note="")
            self._pages = self._bars.add_task("pages", total=None, note="")

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, now: Standing) -> None:
        """Show where the run stands."""
        if self._bars is not None:
            self._bars.update(self._files, completed=now.files_done, total=now.files)
            note = f"{now.refused} requests failed, retried" if now.refused else ""
            self._bars.update(self._pages, completed=now.pages_done, total=now.pages, note=note)
        elif time.monotonic() >= self._next_line_at:
            self._next_line_at = time.monotonic() + PLAIN_EVERY_S
            self.say(
                f"files {now.files_done}/{now.files}, pages {now.pages_done}/{now.pages}, {now.refused} requests failed"
            )

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def make_console() -> Console:
    """Return the console for standard output; a pipe gets lines that are not cut at 80 columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)
