"""The lease protocol, every state of it: the rules hold, broken variants are found out, and the documentation has the same rules."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Final

import pytest

from tests.model import lease_mutants
from tests.model.explorer import Explored, Explorer
from tests.model.lease_model import Protocol, initial
from tests.model.lease_mutants import Broken
from tests.model.lease_rules import NOTHING_IS_STUCK, STATE_RULES, STEP_RULES, is_over, nothing_is_stuck

GUARANTEES: Final = Path(__file__).parents[2] / "docs" / "guarantees.md"
SECTION: Final = "## The lease protocol and its invariants"
MOST_STATES: Final = 2_000_000
BROKEN: Final = [
    variant
    for _, variant in inspect.getmembers(lease_mutants, inspect.isclass)
    if issubclass(variant, Broken) and variant is not Broken
]
SMALL: Final = [(1, 2, 2)]
LARGE: Final = [(2, 2, 1), (1, 3, 2), (2, 2, 2)]
"""Messages, workers, faults: minutes and gigabytes, with LEASE_MODEL=large."""
SIZES: Final = SMALL + (LARGE if os.environ.get("LEASE_MODEL") == "large" else [])


def explore(protocol: Protocol, messages: int, workers: int, faults: int) -> Explored:
    """Search every state of a protocol."""
    explorer = Explorer(
        protocol.steps,
        state_rules=STATE_RULES,
        step_rules=STEP_RULES,
        can_end=(NOTHING_IS_STUCK, is_over),
        most_states=MOST_STATES,
    )
    return explorer.explore(initial(messages, workers, faults))


@pytest.mark.parametrize(("messages", "workers", "faults"), SIZES)
def test_every_rule_holds_in_every_state(messages: int, workers: int, faults: int) -> None:
    explored = explore(Protocol(), messages, workers, faults)
    assert explored.finding is None, str(explored.finding)
    assert explored.states > 10_000, "a model in which nothing happens holds every rule"


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_variant_is_found_out(broken: type[Broken]) -> None:
    finding = explore(broken(), *broken.size).finding
    assert finding is not None, f"{broken.__name__}: {broken.__doc__}"
    assert finding.rule == broken.breaks, str(finding)


def test_each_rule_can_fail() -> None:
    names = {rule.__name__ for rule in (*STATE_RULES, *STEP_RULES, nothing_is_stuck)}
    assert names == {broken.breaks for broken in BROKEN}


def test_the_documentation_has_the_same_rules() -> None:
    section = GUARANTEES.read_text("utf-8").partition(SECTION)[2].partition("\n## ")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE))
    rules = (*STATE_RULES, *STEP_RULES, nothing_is_stuck)
    assert documented == {rule.__name__: inspect.getdoc(rule) for rule in rules}
