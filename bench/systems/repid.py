"""Repid, on Redis streams; it has no results and no delays there. `python -m bench.systems.repid` is the worker."""

from __future__ import annotations

import asyncio
from typing import Any

from repid import RedisServer, Repid, Router

from bench import async_deeds
from bench.async_client import AsyncClient
from bench.client import Client
from bench.place import BROKER_URL, KIND, QUEUE

AT_ONCE = 100
"""Messages of one read; 10 by default."""
TASKS_LIMIT = AT_ONCE if KIND == "async" else 1000
"""Tasks of one worker at a time: Repid's default, but where a workload is about it."""

app = Repid()
app.servers.register_server("default", RedisServer(BROKER_URL, batch_size=AT_ONCE), is_default=True)
router = Router()
NAMES = {"noop": ("sent_at",), "io": ("seconds",), "carry": ("sent_at", "_payload")}
for _name in NAMES:
    router.actor(getattr(async_deeds, _name), name=_name, channel=QUEUE)
app.include_router(router)


class RepidClient(AsyncClient):
    """A program with Repid."""

    async def open(self) -> None:
        """Connect."""
        self._connection = app.servers.default.connection()
        await self._connection.__aenter__()

    async def asend(self, task: str, *arguments: Any) -> Any:
        """Send with `send_message_json`."""
        if task not in NAMES:
            self._lacks("results")
        named = dict(zip(NAMES[task], arguments, strict=True))
        await app.send_message_json(channel=QUEUE, payload=named, headers={"topic": task})

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connection.__aexit__(None, None, None)


async def work() -> None:
    """Be a worker."""
    async with app.servers.default.connection():
        await app.run_worker(tasks_limit=TASKS_LIMIT)


def make_client() -> Client:
    """Return the client."""
    return RepidClient()


if __name__ == "__main__":
    asyncio.run(work())
