"""Executors and whole workers, killed at random while they work; there is always one on the way that goes on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from random import Random
from typing import Any

import psutil

from tests.canvas.places import QUEUE
from tests.e2e.harness import Fleet, WorkerProcess

OPTIONS = ("-c", "2", "--threads", "2")
PAUSE_S = (0.01, 0.08)
"""Between two kills."""
WORKERS = 2


class Havoc:
    """Duties: 1. keep some workers running; 2. kill their executors, or now and then all of a worker; 3. stop when told to.

    `seed` decides what is killed and when; what that hits is left to chance.
    """

    def __init__(self, fleet: Fleet, seed: int, settings: dict[str, Any]) -> None:
        self._fleet = fleet
        self._settings = settings
        self._random = Random(seed)
        self._over = threading.Event()
        self._workers: list[WorkerProcess] = []
        self.executors_killed = 0
        self.workers_killed = 0

    @contextlib.contextmanager
    def under_way(self, workers_to_kill: int) -> Iterator[None]:
        """Have workers, and have them killed, in a `with` block; at its end those that are left go on in peace."""
        self._workers = [self._start(ready=True) for _ in range(WORKERS)]
        thread = threading.Thread(target=self._rage, args=(workers_to_kill,), name="havoc")
        thread.start()
        try:
            yield
        finally:
            self.stop()
            thread.join()

    def stop(self) -> None:
        """Kill nothing more."""
        self._over.set()

    def _start(self, *, ready: bool) -> WorkerProcess:
        return self._fleet.start(QUEUE, *OPTIONS, settings=self._settings, ready=ready)

    def _rage(self, workers_to_kill: int) -> None:
        while not self._over.wait(self._random.uniform(*PAUSE_S)):
            worker = self._random.choice(self._workers)
            if self.workers_killed < workers_to_kill and self._random.random() < 0.06:
                self._workers.remove(worker)
                worker.kill()
                self.workers_killed += 1
                self._workers.append(self._start(ready=False))
            elif executors := worker.executors:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._random.choice(executors).kill()
                    self.executors_killed += 1
