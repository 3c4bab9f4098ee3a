"""A program that sends and a worker that runs without a pause, and what became of it all."""

from __future__ import annotations

import threading
import time
from collections import Counter

from celeriac import Celeriac
from celeriac.exceptions import BrokerUnavailable, PublishTimeout
from celeriac.torture.servers.service import wait_until
from celeriac.worker.worker import EmbeddedWorker

DEADLINE_S = 60.0
IN_FLIGHT = 2 * 4 + 64
"""What one worker of this size may hold at once, running and ahead."""
DELAYS = "classic"
"""28 replicated queues take ten seconds to make, and are not what is tested here; and those of a dead node must hold up nobody."""


class Traffic:
    """A program with a worker, and a thread that sends without a pause; counts what was accepted and what was done."""

    def __init__(self, url: str, queue: str) -> None:
        self.app = Celeriac(
            "traffic",
            broker=url,
            task_default_queue=queue,
            publish_timeout_s=3.0,
            broker_heartbeat=2.0,
            broker_connection_timeout=1.0,
            broker_native_delayed_delivery_queue_type=DELAYS,
        )
        self.done: Counter[str] = Counter()
        self.accepted: list[str] = []
        self.unknown: list[str] = []
        self.refused = 0
        self._stop = threading.Event()
        self._sender = threading.Thread(target=self._send, name="sender")
        self._worker = EmbeddedWorker(self.app, concurrency=2, threads=4)

        @self.app.task(name="work")
        def work(key: str) -> None:
            time.sleep(0.002)
            self.done[key] += 1

        self._work = work

    def __enter__(self) -> Traffic:
        self._worker.start()
        self._sender.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop_sending()
        self._worker.stop(5.0)
        self.app.close()

    def _send(self) -> None:
        number = 0
        while not self._stop.wait(0.005):
            number += 1
            key = str(number)
            try:
                self._work.delay(key)
            except PublishTimeout:
                self.unknown.append(key)
            except BrokerUnavailable:
                self.refused += 1
            else:
                self.accepted.append(key)

    def stop_sending(self) -> None:
        self._stop.set()
        self._sender.join()

    def goes_on(self, deadline_s: float = DEADLINE_S) -> None:
        """Return when more is accepted, and more is done."""
        accepted, done = len(self.accepted) + 50, len(self.done) + 50
        wait_until(lambda: len(self.accepted) > accepted, "calls are accepted", deadline_s=deadline_s)
        wait_until(lambda: len(self.done) > done, "tasks are run", deadline_s=deadline_s)

    def count(self) -> tuple[int, int]:
        """Return how many accepted calls never ran, and how many runs were too many, when everything is over."""
        self.stop_sending()
        wait_until(lambda: not self.missing(), "all that was accepted has run", deadline_s=DEADLINE_S)
        extra = sum(count - 1 for count in self.done.values())
        return len(self.missing()), extra

    def missing(self) -> set[str]:
        return set(self.accepted) - self.done.keys()
