"""All scenarios, in the order in which they are played and told."""

from __future__ import annotations

from celeriac.torture.scenario import Scenario
from celeriac.torture.scenarios import kills

SCENARIOS: tuple[Scenario, ...] = (*kills.SCENARIOS,)


def named(name: str) -> Scenario | None:
    """Return the scenario of that name."""
    return next((scenario for scenario in SCENARIOS if scenario.name == name), None)
