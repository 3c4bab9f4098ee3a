"""What is played for what was asked."""

from __future__ import annotations

import re

import pytest

from celeriac.torture.plan import plan_of
from celeriac.torture.scenarios import SCENARIOS
from celeriac.torture.systems import SYSTEMS


def test_everything_is_every_scenario_wherever_it_applies() -> None:
    played = [(run.scenario.name, run.place) for run in plan_of((), (), (), [1])]
    assert played == [(scenario.name, place) for scenario in SCENARIOS for place in scenario.places]
    assert len(set(played)) == len(played)


def test_each_seed_is_a_run_of_its_own() -> None:
    assert [run.seed for run in plan_of(["kill-tree"], ["sqlite"], (), range(3, 6))] == [3, 4, 5]


def test_others_are_put_only_through_what_is_meant_for_all() -> None:
    for run in plan_of((), (), tuple(SYSTEMS), [1]):
        assert run.system.name == "celeriac" or run.scenario.for_all
        assert run.place in run.system.places


@pytest.mark.parametrize(
    ("scenarios", "places", "systems", "told"),
    [
        (["kil-tree"], (), (), "there is no scenario 'kil-tree'; did you mean 'kill-tree'?"),
        ((), ["zookeeper"], (), "there is no broker 'zookeeper'; there are redis, rabbitmq, sqlite"),
        ((), (), ["celeryac"], "there is no system 'celeryac'; did you mean 'celeriac'?"),
    ],
)
def test_what_there_is_not_is_told_with_what_there_is(
    scenarios: list[str], places: list[str], systems: list[str], told: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        plan_of(scenarios, places, systems, [1])
