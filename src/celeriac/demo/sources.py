"""Which files the demo measures: the standard library of the Python that runs it."""

from __future__ import annotations

import contextlib
import os
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from celeriac.demo.measure import measure_file

SAMPLE: Final = 40
"""How many files are measured beforehand, to know how many fit."""


def library_files() -> list[str]:
    """Return every Python file of the standard library, its tests included, where they are installed."""
    found = []
    for folder, folders, names in os.walk(sysconfig.get_path("stdlib")):
        # What was installed afterwards is no part of the library.
        folders[:] = [name for name in folders if name not in ("site-packages", "dist-packages", "__pycache__")]
        found += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    return sorted(found)


def every_nth(files: Sequence[str], count: int) -> list[str]:
    """Return `count` files, evenly spread; all of them if there are no more."""
    count = min(count, len(files))
    return [files[index * len(files) // count] for index in range(count)]


def how_many_fit(files: Sequence[str], seconds: float, processes: int) -> int:
    """Return how many of the files `processes` processes measure in so many seconds, by a sample measured here and now."""
    sample = every_nth(files, SAMPLE)
    begun = time.perf_counter()
    for path in sample:
        with contextlib.suppress(SyntaxError, ValueError):  # it takes its time all the same
            measure_file(path)
    each_s = (time.perf_counter() - begun) / max(1, len(sample))
    return min(len(files), int(seconds * processes / max(each_s, 1e-6)))


def short_name(path: str) -> str:
    """Return the path within the library."""
    library = Path(sysconfig.get_path("stdlib"))
    return str(Path(path).relative_to(library)) if Path(path).is_relative_to(library) else path
