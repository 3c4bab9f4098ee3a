"""Which scenarios are played, where, with which system and seed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from celeriac.torture.places import PLACES
from celeriac.torture.play import play
from celeriac.torture.scenario import Finding, Scenario
from celeriac.torture.scenarios import SCENARIOS
from celeriac.torture.systems import SYSTEMS
from celeriac.torture.systems.system import System


class Run(Struct, frozen=True):
    """One scenario, in one place, with one system and one seed."""

    scenario: Scenario
    place: str
    system: System
    seed: int

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"{self.scenario.name} on {self.place} ({self.system.title}, seed {self.seed})"

    def play(self, *, scale: float, say: Callable[[str], object], keep: Path | None = None) -> Finding:
        """Play it; see `celeriac.torture.play.play`."""
        return play(self.scenario, self.place, self.system, seed=self.seed, scale=scale, say=say, keep=keep)


def plan_of(
    names: Collection[str], places: Collection[str], systems: Collection[str], seeds: Iterable[int]
) -> list[Run]:
    """Return the runs in their order; no names: all scenarios, no places: wherever each applies, no systems: Celeriac alone.

    Other systems are put only through scenarios that are meant for all.  Raises ValueError, with what there is, for a name that
    does not exist, or when nothing is left to play.
    """
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    _see_that_known("scenario", names, by_name)
    _see_that_known("broker", places, PLACES)
    _see_that_known("system", systems, SYSTEMS)
    chosen = [by_name[name] for name in dict.fromkeys(names)] or list(SCENARIOS)
    runs = [
        Run(scenario, place, system, seed)
        for scenario in chosen
        for place in scenario.places
        if place in places or not places
        for system in (SYSTEMS[name] for name in dict.fromkeys(systems or ("celeriac",)))
        if place in system.places and (scenario.for_all or system.name == "celeriac")
        for seed in seeds
    ]
    if not runs:
        raise ValueError("none of these scenarios applies to these brokers and systems; see --list")
    return runs


def _see_that_known(what: str, given: Collection[str], known: Iterable[str]) -> None:
    names: Sequence[str] = list(known)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
            raise ValueError(f"there is no {what} {name!r}; {hint}")
