"""Streaq."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streaq import Worker

from bench import async_deeds, deeds
from bench.async_client import AsyncClient
from bench.client import FETCH_S, Client
from bench.place import BROKER_URL, KIND, QUEUE

AT_ONCE = 100
"""Tasks of one worker at a time; 16 by default."""
worker: Worker[Any] = Worker(
    redis_url=BROKER_URL,
    queue_name=QUEUE,
    concurrency=AT_ONCE,
    sync_concurrency=AT_ONCE,
    anyio_kwargs={"use_uvloop": True},
)
# Nothing is kept of a task without a result, as with the other libraries.
TASKS: dict[str, Any] = {
    "noop": worker.task(name="noop", ttl=0, silent=True)(async_deeds.noop),
    "answer": worker.task(name="answer", silent=True)(async_deeds.answer),
    "carry": worker.task(name="carry", ttl=0, silent=True)(async_deeds.carry),
    "io": worker.task(name="io", ttl=0, silent=True)(deeds.io if KIND == "thread" else async_deeds.io),
}


class StreaqClient(AsyncClient):
    """A program with Streaq."""

    fetchers = 16
    """Each takes two connections; from 32 on they wait for each other, for ever."""

    async def open(self) -> None:
        """Connect."""
        await worker.__aenter__()

    async def asend(self, task: str, *arguments: Any) -> Any:
        """Send with `enqueue`."""
        return await TASKS[task].enqueue(*arguments)

    async def asend_later(self, delay_s: float, task: str, *arguments: Any) -> None:
        """Send with a delay."""
        await TASKS[task].enqueue(*arguments).start(delay=delay_s)

    async def asend_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """Send with `enqueue_many`."""
        tasks = [TASKS[task].enqueue(*arguments) for arguments in calls]
        await worker.enqueue_many(tasks)
        return tasks

    async def avalue(self, handle: Any) -> Any:
        """Fetch with `result`."""
        return (await handle.result(timeout=FETCH_S)).result

    async def aclose(self) -> None:
        """Close all connections."""
        await worker.__aexit__(None, None, None)


def make_client() -> Client:
    """Return the client."""
    return StreaqClient()
