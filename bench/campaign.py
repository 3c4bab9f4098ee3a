"""A campaign: rounds of workloads with systems that take turns."""

from __future__ import annotations

import traceback
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
    rounds: dict[str, int]
    """Workload -> rounds."""
    figures: Figures = field(default_factory=Figures)
    failures: list[str] = field(default_factory=list)
    """What went wrong, a sentence each."""
    _lacking: set[tuple[str, str]] = field(default_factory=set)
    """Workloads and systems that do not have what they want."""

    def play(self, servers: Servers, progress: Progress, done: Callable[[Workload], None]) -> None:
        """Measure everything; `done` is told of each workload when its rounds are over.

        A system that fails is told of, and goes on with the next round; one that lacks what a workload wants is left out of it.
        """
        steps = [
            (workload, number, system)
            for workload in self.workloads
            for number in range(1, self.rounds[workload.name] + 1)
            for system in self.systems
        ]
        progress.expect([(workload.name, system.name) for workload, _, system in steps])
        for workload, number, system in steps:
            with progress.step((workload.name, system.name), number):
                try:
                    self._measure(workload, system, number, servers)
                except Exception as error:  # whatever it is: two hours of other figures are not to be lost by it
                    told = str(error) if isinstance(error, RunFailed) else traceback.format_exc()
                    self.failures.append(f"{workload.name} with {system.name}, round {number}: {told}")
                    progress.say(self.failures[-1])
            if number == self.rounds[workload.name] and system is self.systems[-1]:
                done(workload)

    def _measure(self, workload: Workload, system: System, number: int, servers: Servers) -> None:
        if (workload.name, system.name) in self._lacking:
            return
        try:
            values = workload.measure(system, servers, workload.count_for(system, self.counts[workload.name]))
        except Lacking:
            self._lacking.add((workload.name, system.name))
        else:
            self.figures.add(workload.name, system.name, number, values)
