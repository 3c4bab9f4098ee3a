"""An environment without Celery in it, and the sources of programs written for Celery: made by pip from exact pins, and kept in `build`."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PINS: Final = Path(__file__).parent / "pins"
PLACE: Final = ROOT / "build" / "programs"
PYTHON: Final = PLACE / "bin" / "python"
SOURCES: Final = PLACE / "sources"
STAMP: Final = PLACE / "made-from.txt"
DEADLINE_S: Final = 600.0


def ensure() -> None:
    """Make the environment, unless it has been made from these pins for this Python. Blocking, up to a minute; needs a package index.

    Processes that come at the same time wait for the first. Raises `RuntimeError` with what pip says; nothing is left then.
    """
    with _alone():
        if STAMP.is_file() and STAMP.read_text() == _wanted():
            return
        shutil.rmtree(PLACE, ignore_errors=True)
        try:
            venv.create(PLACE, with_pip=True, symlinks=True)
            _pip("install", "--no-deps", "--requirement", str(PINS / "programs.txt"))
            # Their metadata are made by what has just been installed: nothing is fetched that is not pinned.
            options = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", str(SOURCES))
            _pip("download", *options, "--requirement", str(PINS / "sdists.txt"))
            for archive in SOURCES.glob("*.tar.gz"):
                with tarfile.open(archive) as opened:
                    opened.extractall(SOURCES, filter="data")
        except BaseException:
            shutil.rmtree(PLACE, ignore_errors=True)
            raise
        STAMP.write_text(_wanted())


def source(name: str) -> Path:
    """The directory of a program's archive."""
    (found,) = (path for path in SOURCES.iterdir() if path.is_dir() and path.name.startswith(name))
    return found


def package(name: str) -> Path:
    """The directory of an installed package."""
    (found,) = PLACE.glob(f"lib/*/site-packages/{name}")
    return found


def _pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def _wanted() -> str:
    return "\n".join([sys.version, *(path.read_text() for path in sorted(PINS.glob("*.txt")))])


@contextmanager
def _alone() -> Iterator[None]:
    PLACE.parent.mkdir(exist_ok=True)
    with (PLACE.parent / "programs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
