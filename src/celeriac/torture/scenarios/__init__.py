"""All scenarios, in the order in which they are played and told."""

from __future__ import annotations

from celeriac.torture.scenario import Scenario
from celeriac.torture.scenarios import (
    brokers,
    chords,
    depth,
    failover,
    frozen,
    kills,
    leaks,
    limits,
    malformed,
    publishing,
    schedules,
    stops,
    stores,
    storm,
    times,
)

SCENARIOS: tuple[Scenario, ...] = (
    *kills.SCENARIOS,
    *storm.SCENARIOS,
    *stops.SCENARIOS,
    *frozen.SCENARIOS,
    *chords.SCENARIOS,
    *times.SCENARIOS,
    *limits.SCENARIOS,
    *brokers.SCENARIOS,
    *failover.SCENARIOS,
    *publishing.SCENARIOS,
    *stores.SCENARIOS,
    *malformed.SCENARIOS,
    *schedules.SCENARIOS,
    *depth.SCENARIOS,
    *leaks.SCENARIOS,
)


def named(name: str) -> Scenario | None:
    """Return the scenario of that name."""
    return next((scenario for scenario in SCENARIOS if scenario.name == name), None)
