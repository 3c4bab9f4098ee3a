"""One run: a system in an empty place, with its worker, its client and its records; all of it gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Final, Self

from bench.catalogue import System
from bench.environments import python_of
from bench.place import BACKEND_VARIABLE, BROKER_VARIABLE, KIND_VARIABLE, OPTIONS_VARIABLE
from bench.processes import Driver, RunFailed, Worker
from bench.recording import DIRECTORY_VARIABLE, Records
from bench.servers import Servers
from bench.shape import Shape
from celeriac.torture.servers.service import Reaper

WARM_UP: Final = 50
"""Tasks that a worker runs before anything is measured that is not its start."""
STALL_S: Final = 60.0
"""A worker that has run nothing for so long will run nothing any more."""
LOOK_EVERY_S: Final = 0.01
QUIET: Final = 0.2
"""Share of a processor that a worker with nothing to do may use, and be called at rest."""
QUIET_EVERY_S: Final = 0.5
QUIET_WITHIN_S: Final = 8.0
_FOREIGN: Final = ("CELERY_", "CELERIAC_", "PYTHON", "DRAMATIQ_", "dramatiq_")
"""What the environment says of other apps and interpreters is not for those that are measured."""


class Run:
    """Duties: 1. give the system an empty place; 2. start its client and worker; 3. leave nothing running, and no file.

    `kind`: the kind of tasks that the workload wants, see `Shape`.
    """

    def __init__(self, system: System, servers: Servers, kind: str = "") -> None:
        self.system = system
        self._stack = contextlib.ExitStack()
        self._servers = servers
        self._kind = kind
        self.worker: Worker | None = None

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def start_worker(self, shape: Shape = Shape()) -> Worker:  # noqa: B008 - it is frozen
        """Start the worker; it begins whenever it is ready."""
        commands = self.system.worker(python_of(self.system), shape, self.system.options)
        self.worker = Worker(commands, self._environment, self._directory / "worker.log")
        self._stack.callback(self.worker.kill)
        self._reaper.watch([*self.worker.leaders, self.client.leader])
        return self.worker

    def warm_up(self, shape: Shape = Shape()) -> Worker:  # noqa: B008 - as above
        """Start the worker and return when it has run some tasks, and all of it is at rest."""
        worker = self.start_worker(shape)
        self.client.order("one_by_one", WARM_UP)
        self.until_done(WARM_UP)
        end = time.monotonic() + QUIET_WITHIN_S
        used_s = worker.cpu_s()
        while time.monotonic() < end:
            time.sleep(QUIET_EVERY_S)
            before_s, used_s = used_s, worker.cpu_s()
            if used_s - before_s < QUIET * QUIET_EVERY_S:
                break
        return worker

    def until_done(self, count: int) -> None:
        """Return when so many tasks have run. Raises `RunFailed` when the worker ends or stalls before."""
        seen, seen_at = -1, time.monotonic()
        while (done := self.records.count()) < count:
            assert self.worker is not None
            self.worker.check_alive()
            now = time.monotonic()
            if done != seen:
                seen, seen_at = done, now
            elif now - seen_at > STALL_S:
                raise RunFailed(f"{done} of {count} tasks have run, and none for {STALL_S:g} s:\n{self._logs()}")
            time.sleep(LOOK_EVERY_S)

    def _open(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="celeriac-bench-"))
        self._reaper = Reaper(self._directory)
        self._stack.callback(self._reaper.close)
        records = self._directory / "records"
        records.mkdir()
        self.records = Records(records)
        self.place = self._servers.place(self.system, self._directory)
        self._stack.callback(self.place.close)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)},
            BROKER_VARIABLE: self.place.broker_url,
            BACKEND_VARIABLE: self.place.backend_url,
            OPTIONS_VARIABLE: json.dumps(dict(self.system.options)),
            KIND_VARIABLE: self._kind,
            DIRECTORY_VARIABLE: str(records),
        }
        log = self._directory / "client.log"
        self.client = Driver(python_of(self.system), self.system.program, self._environment, log)
        self._stack.callback(self.client.kill)
        self._reaper.watch([self.client.leader])
        self.client.wait_ready()

    def _logs(self) -> str:
        return (self._directory / "worker.log").read_text(errors="replace")[-3000:]
