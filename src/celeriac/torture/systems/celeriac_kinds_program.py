"""The program for every kind of executor: what runs in threads and as coroutines, beside what runs in processes."""

from __future__ import annotations

import asyncio
import time

from celeriac.torture.journal import END, START, record
from celeriac.torture.systems.celeriac_program import JOURNAL, app, send
from celeriac.torture.systems.limits_tasks import add_limits_tasks

__all__ = ["app", "send"]

add_limits_tasks(app)


@app.task(name="work_thread", executor="thread")
def work_thread(key: str, seconds: float) -> None:
    """Work in a thread."""
    record(JOURNAL, START, key)
    time.sleep(seconds)
    record(JOURNAL, END, key)


@app.task(name="work_async")
async def work_async(key: str, seconds: float) -> None:
    """Work as a coroutine."""
    record(JOURNAL, START, key)
    await asyncio.sleep(seconds)
    record(JOURNAL, END, key)
