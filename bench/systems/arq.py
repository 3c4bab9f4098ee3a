"""arq."""

from __future__ import annotations

from typing import Any, ClassVar

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.worker import func

from bench import async_deeds
from bench.async_client import AsyncClient
from bench.client import FETCH_S, Client
from bench.place import BROKER_URL, QUEUE

AT_ONCE = 100
"""Jobs of one worker at a time; 10 by default."""
POLL_S = 0.01
"""How often a worker looks for jobs, and a client for results; 0.5 s by default."""
SETTINGS = RedisSettings.from_dsn(BROKER_URL)


async def noop(_context: Any, sent_at: float) -> None:
    """Do nothing but say so."""
    await async_deeds.noop(sent_at)


async def answer(_context: Any, number: int) -> int:
    """Have a result."""
    return await async_deeds.answer(number)


async def io(_context: Any, seconds: float) -> None:
    """Wait for something."""
    await async_deeds.io(seconds)


async def carry(_context: Any, sent_at: float, payload: str) -> None:
    """Have a large argument."""
    await async_deeds.carry(sent_at, payload)


class WorkerSettings:
    """What the worker is told."""

    functions: ClassVar[list[Any]] = [
        func(noop, keep_result=0),
        func(answer, keep_result=3600),
        func(io, keep_result=0),
        func(carry, keep_result=0),
    ]
    redis_settings = SETTINGS
    queue_name = QUEUE
    max_jobs = AT_ONCE
    poll_delay = POLL_S
    log_results = False


class ArqClient(AsyncClient):
    """A program with arq."""

    _pool: ArqRedis

    async def open(self) -> None:
        """Connect."""
        self._pool = await create_pool(SETTINGS, default_queue_name=QUEUE)

    async def asend(self, task: str, *arguments: Any) -> Any:
        """Send with `enqueue_job`."""
        return await self._pool.enqueue_job(task, *arguments)

    async def asend_later(self, delay_s: float, task: str, *arguments: Any) -> None:
        """Send with a delay."""
        await self._pool.enqueue_job(task, *arguments, _defer_by=delay_s)

    async def avalue(self, handle: Any) -> Any:
        """Fetch with `result`."""
        return await handle.result(timeout=FETCH_S, poll_delay=POLL_S)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


def make_client() -> Client:
    """Return the client."""
    return ArqClient()
