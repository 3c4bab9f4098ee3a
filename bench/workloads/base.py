"""What a workload is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.catalogue import System
from bench.servers import Servers

Values = dict[str, float]
"""Metric -> what one round gave; a metric that a system does not have is left out."""

MORE, LESS = "more", "less"
"""Which is better."""
LEAST: Final = 20
"""Tasks of a workload at least, however short."""


@dataclass(frozen=True)
class Metric:
    """One figure of a workload."""

    key: str
    title: str
    """With its unit."""
    better: str = MORE
    digits: int = 0
    compared: bool = False
    """Whether the table shows it beside other systems'."""


@dataclass(frozen=True)
class Workload:
    """A workload: `measure` does one round of it with a system and so many tasks."""

    name: str
    title: str
    count: int
    """Tasks, unless told otherwise."""
    short_count: int
    """Tasks of a short round."""
    metrics: tuple[Metric, ...]
    measure: Callable[[System, Servers, int], Values]
    rounds: int = 3
    """Rounds, unless told otherwise: fewer where one takes half a minute and more say little more."""
    default: bool = True
    """Whether it is measured where no workload is named."""
    fixed: bool = False
    """Whether a system's portion of the count does not apply: the figures depend on how many there are."""

    def count_for(self, system: System, count: int) -> int:
        """How many tasks of `count` a system gets: fewer if it would take minutes, more if it would be over at once."""
        return count if self.fixed else max(LEAST, int(count * system.portion))
