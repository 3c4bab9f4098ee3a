"""What a workload is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.runs import Run


@dataclass(frozen=True)
class Metric:
    """One figure of a workload."""

    key: str
    title: str
    """With its unit."""
    digits: int = 0
    compared: bool = False
    """Whether the table shows the ratio to Celery on the same broker."""


@dataclass(frozen=True)
class Workload:
    """A workload: `measure` does it once, with `count` tasks, and returns a value for each metric that it could get."""

    name: str
    title: str
    count: int
    """Tasks, unless told otherwise."""
    metrics: tuple[Metric, ...]
    measure: Callable[[Run, int], dict[str, float]]
