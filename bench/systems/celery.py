"""Celery."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery

from bench.systems.base import WORKER_PROCESSES, Client
from bench.tasks import QUEUE, register


class CelerySystem:
    """Celery's prefork worker and its client."""

    library = "celery"

    def __init__(self, name: str, broker: str, settings: Mapping[str, Any]) -> None:
        self.name = name
        self.broker = broker
        self.settings = settings

    def client(self, broker_url: str, backend_url: str) -> Client:
        """Open a client."""
        return CeleryClient(broker_url, backend_url, self.settings)

    def worker_module(self) -> Sequence[str]:
        """`celery worker`, prefork, without what only makes its start slow."""
        worker = ["worker", "-Q", QUEUE, "-P", "prefork", "-c", str(WORKER_PROCESSES), "-l", "WARNING"]
        return ["celery", "-A", "bench.systems.celery_app", *worker, "--without-mingle", "--without-gossip"]


class CeleryClient:
    """A program with Celery."""

    def __init__(self, broker_url: str, backend_url: str, settings: Mapping[str, Any]) -> None:
        self._app = Celery("bench", broker=broker_url, backend=backend_url, set_as_current=False)
        self._app.conf.update(task_default_queue=QUEUE, **settings)
        register(self._app)
        self._app.finalize()
        self._noop = self._app.tasks["bench.noop"]
        self._answer = self._app.tasks["bench.answer"]

    def send(self, sent_at: float) -> None:
        """Send one."""
        self._noop.delay(sent_at)

    def send_one_by_one(self, count: int) -> None:
        """Send with `delay`."""
        for _ in range(count):
            self._noop.delay(time.monotonic())

    def send_batch(self, count: int) -> None:
        """Send over one producer, kept for the whole loop: of the ways there are (another is `group`) the quickest."""
        with self._app.producer_or_acquire() as producer:
            for _ in range(count):
                self._noop.apply_async((time.monotonic(),), producer=producer)

    def round_trip(self, count: int) -> None:
        """Send with `delay`, fetch with `get`."""
        results = [self._answer.delay(number) for number in range(count)]
        values = [result.get(timeout=120) for result in results]
        assert values == list(range(count))

    def close(self) -> None:
        """Close all connections."""
        self._app.close()
