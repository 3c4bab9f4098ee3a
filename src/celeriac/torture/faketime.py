"""Processes whose clock is wrong, by the library libfaketime."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

from celeriac.torture.servers.service import ServiceError

SYSTEM_FOLDERS = ("/usr/lib/*/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime", "/opt/homebrew/lib/faketime")
LIBRARY = "libfaketime.so.1"
TELL_TIME = (sys.executable, "-c", "import time; print(time.time())")


def find_faketime() -> Path | None:
    """Return the library, of the system or of the Python package that brings it along; None when there is none."""
    root = Path("/")
    for folder in SYSTEM_FOLDERS:
        for found in root.glob(f"{folder[1:]}/{LIBRARY}"):
            return found
    package = importlib.util.find_spec("libfaketime")
    places = package.submodule_search_locations if package is not None else None
    return next((found for place in places or () for found in Path(place).glob(f"vendor/**/{LIBRARY}")), None)


def wrong_clock(offset_s: float) -> dict[str, str]:
    """Return the environment of a process whose clock goes ahead by so much, or behind; it measures time spans as ever.

    Raises `ServiceError` when the library is not there, or is for another machine.
    """
    library = find_faketime()
    if library is None:
        raise ServiceError("libfaketime is missing: install the system's package, or the one for Python")
    changed = {"LD_PRELOAD": str(library), "FAKETIME": f"{offset_s:+g}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    told = subprocess.run(TELL_TIME, env={**os.environ, **changed}, capture_output=True, text=True, check=True).stdout
    if abs(float(told) - time.time() - offset_s) > abs(offset_s) / 2:
        raise ServiceError(f"{library} does nothing on this machine")
    return changed
