"""A campaign: rounds of workloads with systems that take turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.catalogue import System
from bench.figures import Figures
from bench.processes import Lacking, RunFailed
from bench.progress import Progress
from bench.servers import Servers
from bench.workloads.base import Workload


@dataclass
class Campaign:
    """What is measured, and how often."""

    workloads: Sequence[Workload]
    systems: Sequence[System]
    counts: dict[str, int]
    """Workload -> tasks of a round."""
    rounds: int
    figures: Figures = field(default_factory=Figures)
    failures: list[str] = field(default_factory=list)
    """What went wrong, a sentence each."""

    def play(self, servers: Servers, progress: Progress, done: Callable[[Workload], None]) -> None:
        """Measure everything; `done` is told of each workload when its rounds are over.

        A system that fails is told of, and goes on with the next round; one that lacks what a workload wants is left out of it.
        """
        lacking: set[tuple[str, str]] = set()
        for workload in self.workloads:
            for number in range(1, self.rounds + 1):
                for system in self.systems:
                    with progress.step(workload.name, system.name, number):
                        if (workload.name, system.name) not in lacking:
                            try:
                                self._measure(workload, system, number, servers)
                            except Lacking:
                                lacking.add((workload.name, system.name))
                            except (RunFailed, AssertionError) as error:
                                self._failed(workload, system, number, error, progress)
            done(workload)

    def _measure(self, workload: Workload, system: System, number: int, servers: Servers) -> None:
        values = workload.measure(system, servers, workload.count_for(system, self.counts[workload.name]))
        self.figures.add(workload.name, system.name, number, values)

    def _failed(self, workload: Workload, system: System, number: int, error: Exception, progress: Progress) -> None:
        self.failures.append(f"{workload.name} with {system.name}, round {number}: {error}")
        progress.say(self.failures[-1])
