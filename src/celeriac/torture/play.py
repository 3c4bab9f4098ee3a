"""Playing scenarios: a fresh place and stage for each, and a finding from each, whatever happens."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from celeriac.torture.places import missing_program
from celeriac.torture.scenario import Check, Finding, Scenario
from celeriac.torture.servers.service import ServiceError
from celeriac.torture.stage import Stage
from celeriac.torture.systems.system import System
from celeriac.torture.tally import Tally

SHORT: Final = 0.1
"""The scale of a short run."""


def play(
    scenario: Scenario,
    place_name: str,
    system: System,
    *,
    seed: int = 1,
    scale: float = 1.0,
    say: Callable[[str], object] = lambda _: None,
    keep: Path | None = None,
) -> Finding:
    """Play one scenario, blocking, and return what it has shown; nothing of it is left, but for logs and journal in the folder `keep`."""
    began = time.monotonic()
    tally: Tally | None = None
    checks: Sequence[Check] = ()
    error, left_out = _missing(scenario, place_name, system), ""
    if not error and not (left_out := scenario.why_not()):
        try:
            with _stage(scenario, place_name, system, seed, scale, say, keep) as stage:
                found = scenario.play(stage)
                tally = stage.tally()
                checks = [*_counts(tally, scenario, place_name), *found]
        except ServiceError as failure:
            error = str(failure)
    took_s = time.monotonic() - began
    return Finding(scenario.name, place_name, system.name, seed, tally, checks, took_s, error, left_out)


def _missing(scenario: Scenario, place_name: str, system: System) -> str:
    if lacked := [need for need in scenario.needs if need in system.lacks]:
        return f"it has no {lacked[0]}"
    missing = missing_program(place_name) or system.missing()
    return f"{missing} is missing" if missing else ""


@contextlib.contextmanager
def _stage(
    scenario: Scenario,
    place_name: str,
    system: System,
    seed: int,
    scale: float,
    say: Callable[[str], object],
    keep: Path | None,
) -> Iterator[Stage]:
    # Whatever happens before there is a stage, which removes it even if this process is killed.
    with tempfile.TemporaryDirectory(prefix="celeriac-torture-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        with scenario.open_place(place_name, directory) as place:
            stage = Stage(place, system, directory, seed, scale, say)
            try:
                yield stage
            finally:
                if keep is not None:
                    target = keep / f"{scenario.name}-{place_name}-{system.name}-{seed}"
                    shutil.copytree(directory, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.db*"))
                stage.close()


def _counts(tally: Tally, scenario: Scenario, place_name: str) -> list[Check]:
    """Return what must hold of every scenario's counts."""
    checks = [
        Check(f"{tally.lost} lost", tally.lost == 0 or place_name in scenario.may_lose),
        Check(f"{tally.stuck} stuck", tally.stuck == 0),
    ]
    most = tally.in_flight if scenario.duplicates else 0
    said = f"{tally.duplicated} doubled, {tally.in_flight} in flight"
    checks.append(Check(said, tally.duplicated <= most))
    if not scenario.may_refuse:
        checks.append(Check(f"{tally.refused} refused", tally.refused == 0))
    return checks
