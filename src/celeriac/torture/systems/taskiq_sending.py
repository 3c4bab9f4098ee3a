"""Taskiq's tasks, and sending them from a program that is not asynchronous."""

from __future__ import annotations

import asyncio
import threading

from taskiq import AsyncBroker

from celeriac.torture.orders import Order
from celeriac.torture.systems import deeds

DEEDS = {"work": deeds.work, "poison": deeds.poison}


def with_tasks(broker: AsyncBroker) -> AsyncBroker:
    """Give a broker the tasks, and return it."""
    for name, deed in DEEDS.items():
        broker.register_task(deed, task_name=name)
    return broker


class Sender:
    """Sends in an event loop of its own, which its one daemon thread runs; the broker is started by the first send. Thread-safe."""

    def __init__(self, broker: AsyncBroker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = asyncio.Lock()
        self._started = False

    def __call__(self, key: str, order: Order) -> None:
        """Send one task; raises what `kiq` raises, and what starting raises, which is tried again by the next."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="sending", daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._send(key, order), self._loop).result()

    async def _send(self, key: str, order: Order) -> None:
        async with self._starting:
            if not self._started:
                await self._broker.startup()
                self._started = True
        task = self._broker.find_task(order.task)
        assert task is not None
        await task.kiq(key, order.seconds, **order.arguments)
