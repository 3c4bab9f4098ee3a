"""Programs written for Celery, run as they are: their workers, and they themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.program import Program

PROGRAMS: Final = Path(__file__).parent / "programs"
DEADLINE_S: Final = 90.0


@contextmanager
def worker(
    module: str, directory: Path, environment: Mapping[str, str], logs: Path, *options: str
) -> Iterator[Program]:
    """A worker of `celeriac --as-celery`, ready; stopped afterwards."""
    command = ["celeriac", "--as-celery", "-A", module, "--workdir", str(directory), "worker", "-c", "2", *options]
    program = Program(module, command, environment, logs)
    try:
        program.wait_for("ready.")
        yield program
    finally:
        program.stop()


def run(program: str, directory: Path, environment: Mapping[str, str], *arguments: str, on_celery: bool = False) -> str:
    """Run a program by `python -m celeriac.compat`, or on Celery itself, and return what it prints. Fails unless it ends well."""
    before = () if on_celery else ("-m", "celeriac.compat")
    done = subprocess.run(
        [sys.executable, *before, program, *arguments],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
