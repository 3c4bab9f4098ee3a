"""The demo's worker: a program of its own, as in real life, and the harm that is done to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil

from celeriac.exceptions import OperationalError

START_S: Final = 20.0
STOP_S: Final = 10.0
LOOK_S: Final = 0.05


class WorkerProcess:
    """Duties: 1. start `celeriac worker` and wait until it is ready; 2. keep its log in a file; 3. find an executor that is
    busy and kill it; 4. stop the worker, and leave no process behind.
    """

    def __init__(self, queues: Sequence[str], concurrency: int, log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            command = [sys.executable, "-m", "celeriac", "-A", "celeriac.demo.app", "worker"]
            command += ["-n", "demo@%h", "-Q", ",".join(queues), "-c", str(concurrency), "--async", "50"]
            command += ["--grace", "2", "--log-json", "--allow-embedded"]
            # A session of its own: Ctrl-C is for the demo, which then stops its worker in order.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Return when it claims messages. Raises `OperationalError` with its last words when it ends
        before, or takes too long."""
        deadline = time.monotonic() + START_S
        while not any(line.endswith(" ready.") for line in self.messages()):
            if not self.running or time.monotonic() > deadline:
                raise OperationalError(f"the worker did not start:\n{self.last_words()}")
            time.sleep(LOOK_S)

    def messages(self) -> Iterator[str]:
        """Yield what it has logged."""
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):  # a traceback, or a line that is just being written
                record = json.loads(line)
                if isinstance(record, dict):
                    yield str(record.get("message"))

    def last_words(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def kill_busy_executor(self) -> int | None:
        """Kill -9 the process executor that has worked most, and return its pid; None when there is none."""
        busiest, most_s = None, 0.0
        with contextlib.suppress(psutil.Error):  # the worker may be ending
            for server in psutil.Process(self.pid).children():
                for executor in server.children():
                    used = executor.cpu_times()
                    if used.user + used.system > most_s:
                        busiest, most_s = executor, used.user + used.system
        if busiest is None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            busiest.kill()
        return int(busiest.pid)

    def stop(self) -> None:
        """Stop it in order, or if it does not listen, with force. Idempotent."""
        try:
            if self.running:
                self._process.send_signal(signal.SIGTERM)
                self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass  # it has had its time
        finally:  # also after a second Ctrl-C
            if self.running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
