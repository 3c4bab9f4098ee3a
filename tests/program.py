"""A Python program started by a test or a benchmark: its process, its log, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from celeriac.torture.servers.service import wait_until

ROOT = Path(__file__).parents[1]
DEADLINE_S = 60.0
"""Far beyond what starting or stopping takes: reached only when something is wrong."""


class Program:
    """One program. Duties: 1. start it; 2. keep its log; 3. stop it as a process manager does, or kill it with its children.

    name: names its log file, in `directory`.
    module: the module to run, and its arguments.
    talks: whether its standard output is for us to read; else it goes to the log.

    Methods block; none is thread-safe.
    """

    def __init__(
        self,
        name: str,
        module: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        *,
        talks: bool = False,
    ) -> None:
        self.name = name
        self.log_file = directory / f"{name}.log"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_file.read_text(errors="replace")

    def check_alive(self) -> None:
        """Raise AssertionError with the log if it has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with code {self.process.returncode}:\n{self.log}")

    def wait_for(self, words: str) -> None:
        """Return when its log has these words."""

        def said() -> bool:
            self.check_alive()
            return words in self.log

        wait_until(said, f"{self.name} says {words!r}", deadline_s=DEADLINE_S)

    def stop(self) -> int:
        """Ask it to stop (SIGTERM), wait, and return its exit code. Idempotent."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def kill(self) -> None:
        """End it with all its children, whatever its state. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.stop()
