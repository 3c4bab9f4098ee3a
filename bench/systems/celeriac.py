"""Celeriac."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from bench.systems.base import WORKER_PROCESSES, Client
from bench.tasks import QUEUE, register
from celeriac import Celeriac
from celeriac.client.task import AsyncTask

AT_ONCE = 1000


class CeleriacSystem:
    """Our own worker and client."""

    library = "celeriac"

    def __init__(self, name: str, broker: str, settings: Mapping[str, Any]) -> None:
        self.name = name
        self.broker = broker
        self.settings = settings

    def client(self, broker_url: str, backend_url: str) -> Client:
        """Open a client."""
        return CeleriacClient(broker_url, backend_url, self.settings)

    def worker_module(self) -> Sequence[str]:
        """`celeriac worker`."""
        worker = ["worker", "-Q", QUEUE, "-c", str(WORKER_PROCESSES), "-l", "WARNING"]
        return ["celeriac", "-A", "bench.systems.celeriac_app", *worker]


class CeleriacClient:
    """A program with Celeriac."""

    def __init__(self, broker_url: str, backend_url: str, settings: Mapping[str, Any]) -> None:
        self._app = Celeriac(
            "bench", broker=broker_url, backend=backend_url, **{"task_default_queue": QUEUE, **settings}
        )
        register(self._app)
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
        """Send from a coroutine, `AT_ONCE` calls at a time: they share round trips."""
        asyncio.run(self._gather(count))

    async def _gather(self, count: int) -> None:
        noop = cast(AsyncTask[Any, Any], self._noop)
        for start in range(0, count, AT_ONCE):
            calls = (noop.adelay(time.monotonic()) for _ in range(min(AT_ONCE, count - start)))
            await asyncio.gather(*calls)

    def round_trip(self, count: int) -> None:
        """Send with `delay`, fetch with `get`."""
        results = [self._answer.delay(number) for number in range(count)]
        values = [result.get(timeout=120) for result in results]
        assert values == list(range(count))

    def close(self) -> None:
        """Close all connections."""
        self._app.close()
