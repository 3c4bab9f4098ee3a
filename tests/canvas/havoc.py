"""Executors and whole workers killed while they work, and cores that stand still; there is always one on the way that goes on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import psutil

from celeriac.torture.journal import END, Journal
from tests.canvas.places import QUEUE
from tests.e2e.harness import Fleet, WorkerProcess

OPTIONS = ("-c", "2", "--threads", "2")
PAUSE_S = (0.01, 0.05)
"""Between two deeds, and then until some runs have ended more."""
RUNS = 3
"""How many those are at the most: so a slow machine gets as far as a quick one between two deeds."""
PATIENCE_S = 1.0
"""With the next deed, when no more runs end."""
FROZEN_S = (1.2, 2.0)
"""Longer than the lease."""
WORKERS = 2
LEAST_EXECUTORS = 5
"""So many are killed, however soon everything is done."""

EXECUTOR, WORKER, FREEZE = "executor", "worker", "freeze"


class Havoc:
    """Duties: 1. keep some workers running; 2. kill their executors and now and then all of a worker, and freeze cores; 3. stop when
    told to, with as much done as was asked for.

    `seed` decides what is done and when; what that hits is left to chance.
    """

    def __init__(self, fleet: Fleet, journal: Journal, seed: int, settings: dict[str, Any]) -> None:
        self._fleet = fleet
        self._journal = journal
        self._settings = settings
        self._random = Random(seed)
        self._over = threading.Event()
        self._workers: list[WorkerProcess] = []
        self._frozen: dict[WorkerProcess, float] = {}
        """Those that stand still, and until when (monotonic)."""
        self.executors_killed = 0
        self.workers_killed = 0
        self.cores_frozen = 0

    @contextlib.contextmanager
    def under_way(self, workers_to_kill: int, cores_to_freeze: int = 0) -> Iterator[None]:
        """Have workers, and harm done to them, in a `with` block; at its end those that are left go on in peace."""
        self._workers = [self._start(ready=True) for _ in range(WORKERS)]
        deeds = [WORKER] * workers_to_kill + [FREEZE] * cores_to_freeze + [EXECUTOR] * LEAST_EXECUTORS
        self._random.shuffle(deeds)
        thread = threading.Thread(target=self._rage, args=(deeds,), name="havoc")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _start(self, *, ready: bool) -> WorkerProcess:
        return self._fleet.start(QUEUE, *OPTIONS, settings=self._settings, ready=ready)

    def _rage(self, deeds: list[str]) -> None:
        """Do what is to be done, some executors between two of these deeds; then kill executors until it is over."""
        due = 0
        while deeds or not self._over.is_set():
            self._pause()
            self._thaw()
            what = deeds[0] if deeds and due <= 0 else EXECUTOR
            if self._do(what) and due <= 0 and deeds:
                deeds.pop(0)
                due = self._random.randrange(12)
            due -= 1
        self._thaw(everyone=True)

    def _pause(self) -> None:
        self._over.wait(self._random.uniform(*PAUSE_S))
        due, until = self._ended() + self._random.randint(0, RUNS), time.monotonic() + PATIENCE_S
        while self._ended() < due and time.monotonic() < until and not self._over.is_set():
            self._over.wait(0.01)

    def _ended(self) -> int:
        return sum(line.event == END for line in self._journal.lines)

    def _do(self, what: str) -> bool:
        """Do one thing to one worker; False when that is not possible now."""
        worker = self._random.choice(self._workers)
        if what == WORKER:
            self._workers.remove(worker)
            self._frozen.pop(worker, None)
            worker.kill()
            self.workers_killed += 1
            self._workers.append(self._start(ready=False))
            return True
        if what == FREEZE:
            if self._frozen or not worker.executors:
                return False
            worker.core.suspend()
            self._frozen[worker] = time.monotonic() + self._random.uniform(*FROZEN_S)
            self.cores_frozen += 1
            return True
        executors = worker.executors
        if not executors:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            self._random.choice(executors).kill()
            self.executors_killed += 1
        return True

    def _thaw(self, *, everyone: bool = False) -> None:
        for worker, until in list(self._frozen.items()):
            if everyone or time.monotonic() > until:
                worker.core.resume()
                del self._frozen[worker]
