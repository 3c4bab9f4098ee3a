"""The driver: what it is told and what it answers, one JSON line each."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.catalogue import BARE, OURS, SYSTEMS
from bench.client import Client, delays
from bench.driver import carry_out
from bench.environments import ROOT, versions
from bench.processes import Driver, Lacking, RunFailed

LIBRARY = """
    from bench.client import Client

    class Library(Client):
        def __init__(self):
            print("a library that talks")

        def send(self, task, *arguments):
            if task == "carry":
                raise OSError("the broker is away")

    def make_client():
        return Library()
"""
"""A library's module that has one way to send, and no batches."""
FOR_PEERS = ("async_client", "async_deeds", "client", "deeds", "driver", "place", "recording")
"""Modules that must run in an environment where nothing of ours is installed."""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A driver of the library above."""
    (tmp_path / "talking_library.py").write_text(textwrap.dedent(LIBRARY))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    started = Driver(sys.executable, "talking_library", environment, tmp_path / "log")
    yield started
    started.kill()


def test_orders_are_carried_out_and_answered(driver: Driver) -> None:
    driver.wait_ready()

    took = driver.order("one_by_one", 100)

    assert took.seconds > 0
    assert 0 <= took.cpu_s < took.seconds + 1


def test_what_a_library_lacks_is_told_apart_from_what_fails(driver: Driver) -> None:
    driver.wait_ready()

    with pytest.raises(Lacking, match="batch"):
        driver.order("batch", 100)
    with pytest.raises(RunFailed, match="the broker is away"):
        driver.order("carry", 1, 10)
    assert driver.order("one_by_one", 1).seconds > 0


def test_fill_takes_the_way_that_there_is(driver: Driver) -> None:
    driver.wait_ready()

    assert driver.order("fill", 10).seconds > 0


def test_a_driver_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    driver = Driver(sys.executable, "no_such_library", dict(os.environ), tmp_path / "log")
    try:
        with pytest.raises(RunFailed, match="No module named 'no_such_library'"):
            driver.wait_ready()
    finally:
        driver.kill()


def test_an_answer_is_one_line_of_json() -> None:
    class Nothing(Client):
        def send(self, task: str, *arguments: object) -> None:
            pass

    answer = carry_out(Nothing(), {"do": "one_by_one", "with": [3]})

    assert set(answer) == {"seconds", "cpu_s"}
    assert "\n" not in json.dumps(answer)


def test_delays_are_spread_evenly_and_the_same_each_time() -> None:
    found = delays(11, 5, 15)

    assert sorted(found) == [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    assert found == delays(11, 5, 15)
    assert found != sorted(found)


@pytest.mark.parametrize("name", FOR_PEERS)
def test_what_runs_in_peers_environments_imports_nothing_of_ours(name: str) -> None:
    tree = ast.parse((ROOT / "bench" / f"{name}.py").read_text())
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }

    allowed = {"bench", "bench.systems", "uvloop", *(f"bench.{module}" for module in FOR_PEERS)}
    assert {module for module in imported if module.split(".")[0] not in sys.stdlib_module_names} <= allowed


def test_every_system_has_its_program_its_pins_and_its_line_in_the_documentation() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    for system in SYSTEMS.values():
        assert re.search(rf"^\|.*\b{system.name}\b(?!-).*\|", page, re.MULTILINE), system.name
        assert (ROOT / f"{system.program.replace('.', '/')}.py").is_file()
        if system.library not in (OURS, BARE):
            pinned = dict(versions(system.library))
            assert system.library in pinned
            assert all(pinned.values())


def test_the_driver_runs_without_our_packages() -> None:
    code = "import sys, bench.driver, bench.async_client, bench.async_deeds; print([m for m in sys.modules if 'celeriac' in m])"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
