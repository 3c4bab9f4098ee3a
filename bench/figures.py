"""What was measured, and what of it says more than the figures themselves: medians, and ratios within a round. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.catalogue import System
from bench.workloads.base import MORE, Metric, Values

Rounds = dict[int, Values]
"""Number of a round -> its values; a round that failed is missing."""


@dataclass(frozen=True)
class Spread:
    """A figure over several rounds."""

    median: float
    least: float
    most: float


@dataclass
class Figures:
    """All rounds of all workloads and systems."""

    rounds: dict[str, dict[str, Rounds]] = field(default_factory=dict)
    """Workload -> system -> rounds."""

    def add(self, workload: str, system: str, number: int, values: Values) -> None:
        """Keep one round."""
        self.rounds.setdefault(workload, {}).setdefault(system, {})[number] = values

    def spread(self, workload: str, metric: str, system: str) -> Spread | None:
        """Return median, least and most of the rounds; None if there are none."""
        values = list(self._values(workload, metric, system).values())
        return Spread(statistics.median(values), min(values), max(values)) if values else None

    def ratio(self, workload: str, metric: str, system: str, other: str) -> float | None:
        """Return how many times the other's figure a system's is; None if the two have no round in common.

        Round by round, because rounds of one number were neighbours in time on a machine that is never quiet; the median of these.
        """
        ours, theirs = self._values(workload, metric, system), self._values(workload, metric, other)
        ratios = [value / theirs[number] for number, value in ours.items() if theirs.get(number)]
        return statistics.median(ratios) if ratios else None

    def best_peer(self, workload: str, metric: Metric, systems: Iterable[System]) -> System | None:
        """Return the peer among `systems` with the best median."""
        found = [
            (spread.median, number, system)
            for number, system in enumerate(systems)
            if system.is_peer and (spread := self.spread(workload, metric.key, system.name))
        ]
        if not found:
            return None
        return (max if metric.better == MORE else min)(found)[2]

    def as_json(self) -> dict[str, Any]:
        """Return every value."""
        return {
            workload: {
                name: {str(number): values for number, values in rounds.items()} for name, rounds in some.items()
            }
            for workload, some in self.rounds.items()
        }

    def merge(self, told: Mapping[str, Any]) -> None:
        """Take over what `as_json` has told, in place of what there is of the same workload and system."""
        for workload, systems in told.items():
            for name, rounds in systems.items():
                kept = {int(number): dict(values) for number, values in rounds.items()}
                self.rounds.setdefault(workload, {})[name] = kept

    def _values(self, workload: str, metric: str, system: str) -> dict[int, float]:
        rounds = self.rounds.get(workload, {}).get(system, {})
        return {number: values[metric] for number, values in rounds.items() if metric in values}


def of_broker(systems: Sequence[System], broker: str) -> list[System]:
    """Return those systems that work on one broker."""
    return [system for system in systems if system.broker == broker]
