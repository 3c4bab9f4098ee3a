"""SAQ."""

from __future__ import annotations

import time
from typing import Any

from saq import Queue

from bench import async_deeds
from bench.async_client import AsyncClient
from bench.client import CALLERS, FETCH_S, Client
from bench.place import BROKER_URL, QUEUE

AT_ONCE = 100
"""Jobs of one worker at a time; 10 by default."""
POLL_S = 0.01
"""How often a client looks for results; 0.5 s by default."""
queue = Queue.from_url(BROKER_URL, name=QUEUE, max_concurrent_ops=CALLERS)


async def noop(_context: Any, *, sent_at: float) -> None:
    """Do nothing but say so."""
    await async_deeds.noop(sent_at)


async def answer(_context: Any, *, number: int) -> int:
    """Have a result."""
    return await async_deeds.answer(number)


async def io(_context: Any, *, seconds: float) -> None:
    """Wait for something."""
    await async_deeds.io(seconds)


async def carry(_context: Any, *, sent_at: float, payload: str) -> None:
    """Have a large argument."""
    await async_deeds.carry(sent_at, payload)


settings = {"queue": queue, "functions": [noop, answer, io, carry], "concurrency": AT_ONCE}
NAMES = {"noop": ("sent_at",), "answer": ("number",), "io": ("seconds",), "carry": ("sent_at", "payload")}
KEEP = {"answer": 3600}
"""Seconds that jobs are kept when they are done; the others not at all."""


class SaqClient(AsyncClient):
    """A program with SAQ."""

    async def open(self) -> None:
        """Connect."""
        await queue.connect()

    async def asend(self, task: str, *arguments: Any) -> Any:
        """Send with `enqueue`."""
        named = dict(zip(NAMES[task], arguments, strict=True))
        return await queue.enqueue(task, timeout=0, ttl=KEEP.get(task, -1), **named)

    async def asend_later(self, delay_s: float, task: str, *arguments: Any) -> None:
        """Send for a time."""
        named = dict(zip(NAMES[task], arguments, strict=True))
        await queue.enqueue(task, scheduled=time.time() + delay_s, timeout=0, ttl=-1, **named)

    def round_trip(self, count: int) -> None:
        """Send and fetch with `map`."""
        numbers = [{"number": number} for number in range(count)]
        self.check(count, self._run(queue.map("answer", numbers, timeout=FETCH_S, poll_interval=POLL_S)))

    async def aclose(self) -> None:
        """Close all connections."""
        await queue.disconnect()


def make_client() -> Client:
    """Return the client."""
    return SaqClient()
