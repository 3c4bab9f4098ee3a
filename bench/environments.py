"""The peers' environments: one for each library under `build/bench`, made by pip from exact pins, anew when these change."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.catalogue import BARE, OURS, System

ROOT: Final = Path(__file__).resolve().parents[1]
PINS: Final = ROOT / "bench" / "pins"
ENVIRONMENTS: Final = ROOT / "build" / "bench"
AT_HOME: Final = (OURS, BARE)
BUILD_DEADLINE_S: Final = 900.0
STAMP: Final = "made-from.txt"


class EnvironmentFailed(RuntimeError):
    """An environment could not be built: the message says of which library, and why."""


def python_of(system: System) -> str:
    """The interpreter of a system's programs."""
    if system.library in AT_HOME:
        return sys.executable
    return str(ENVIRONMENTS / system.library / "bin" / "python")


def is_ready(library: str) -> bool:
    """Whether the environment is there, and was made from these pins for this Python."""
    stamp = ENVIRONMENTS / library / STAMP
    return library in AT_HOME or (stamp.is_file() and stamp.read_text() == _wanted(library))


def build(library: str) -> None:
    """Make the environment of a library. Blocking, up to a minute; needs a package index.

    Raises `EnvironmentFailed`; nothing is left then.
    """
    place = ENVIRONMENTS / library
    shutil.rmtree(place, ignore_errors=True)
    try:
        venv.create(place, with_pip=True, symlinks=True)
        install = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*install, "--no-input", "--requirement", str(PINS / f"{library}.txt")],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_DEADLINE_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(place, ignore_errors=True)
        raise EnvironmentFailed(f"the environment of {library} could not be built: {error}") from None
    if done.returncode != 0:
        shutil.rmtree(place, ignore_errors=True)
        raise EnvironmentFailed(f"the environment of {library} could not be built:\n{done.stderr[-2000:].strip()}")
    (place / STAMP).write_text(_wanted(library))


def versions(library: str) -> Iterator[tuple[str, str]]:
    """Name and version of everything that a library was measured with."""
    if library in AT_HOME:
        for package in ("celeriac", "hiredis", "msgspec") if library == OURS else ("redis", "hiredis", "msgspec"):
            yield package, version(package)
        return
    for line in (PINS / f"{library}.txt").read_text().splitlines():
        package, _, pinned = line.partition("#")[0].strip().partition("==")
        if package:
            yield package, pinned


def _wanted(library: str) -> str:
    return "\n".join([sys.version, *(f"{package}=={pinned}" for package, pinned in versions(library)), ""])
