"""How far a campaign is, on standard error, with the time that is left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

GUESS_S: Final = 8.0
"""What a step takes of which nothing is known."""
Step = tuple[str, str]
"""Workload and system."""


class Progress:
    """A bar on a terminal, else a line for each step. Use it as a context manager.

    What a step has taken is what the same step of the next round will take.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._left: list[Step] = []
        self._took: dict[Step, float] = {}
        self._done_s = 0.0
        columns = (BarColumn(), TextColumn("{task.fields[left]}"), TextColumn("{task.description}"))
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=1.0, left="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.stop()

    def expect(self, steps: Sequence[Step]) -> None:
        """Say what will be done, in this order."""
        self._left = list(steps)

    @contextlib.contextmanager
    def step(self, step: Step, number: int) -> Iterator[None]:
        """Be in a step of a round."""
        left_s = sum(self._took.get(one, GUESS_S) for one in self._left)
        text = f"{' '.join(step)}, round {number}"
        left = f"about {max(1, round(left_s / 60))} min left"
        self._bar.update(self._task, completed=self._done_s, total=self._done_s + left_s, description=text, left=left)
        if not self._console.is_terminal:
            self.say(f"{text} ({left})")
        began = time.monotonic()
        try:
            yield
        finally:
            took_s = time.monotonic() - began
            self._took[self._left.pop(0)] = took_s
            self._done_s += took_s

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
