"""The program that Celeriac's workers and producers run under torture; everything at its default."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import signal
import time
from typing import Any

from celeriac import Celeriac
from celeriac.torture.journal import END, START, record
from celeriac.torture.orders import BACKEND_VARIABLE, BROKER_VARIABLE, JOURNAL_VARIABLE, QUEUE, SETTINGS_VARIABLE, Order

app = Celeriac(
    "torture",
    broker=os.environ.get(BROKER_VARIABLE, "memory://"),
    backend=os.environ.get(BACKEND_VARIABLE, "memory://"),
    task_default_queue=QUEUE,
    **json.loads(os.environ.get(SETTINGS_VARIABLE, "{}")),
)
JOURNAL = os.environ.get(JOURNAL_VARIABLE, os.devnull)
READ_S = 60.0
"""So long a producer waits for a result."""


@app.task(name="work")
def work(key: str, seconds: float) -> str:
    """Work for some time."""
    record(JOURNAL, START, key)
    time.sleep(seconds)
    record(JOURNAL, END, key)
    return key


@app.task(name="member")
def member(key: str, seconds: float) -> list[Any]:
    """Work for some time; the result tells which run it is of."""
    record(JOURNAL, START, key)
    time.sleep(seconds)
    record(JOURNAL, END, key)
    return [key, os.getpid()]


@app.task(name="collect")
def collect(results: list[Any], key: str, seconds: float = 0.0) -> int:
    """Be the body of a chord."""
    record(JOURNAL, START, key, results=len(results))
    time.sleep(seconds)
    record(JOURNAL, END, key)
    return len(results)


@app.task(name="mourn")
def mourn(failed_id: str, *, key: str) -> None:
    """Be told of a failure."""
    record(JOURNAL, START, key, failed_id=failed_id)
    record(JOURNAL, END, key)


@app.task(name="tick")
def tick(number: int) -> int:
    """Do nothing, and note nothing."""
    return number


@app.task(name="poison")
def poison(key: str, seconds: float, how: str = "kill") -> None:
    """Kill the process that runs it, each time."""
    record(JOURNAL, START, key)
    time.sleep(seconds)
    if how == "exit":
        os._exit(1)
    elif how == "segfault":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is short


def send(key: str, order: Order) -> None:
    """Send one task; raises what `apply_async` raises."""
    options = {**order.options, **({} if order.countdown_s is None else {"countdown": order.countdown_s})}
    task = app.tasks[order.task]
    if order.awaited:
        asyncio.run(task.aapply_async((key, order.seconds), order.arguments, **options))
    else:
        result = task.apply_async((key, order.seconds), order.arguments, **options)
        if order.read:
            result.get(timeout=READ_S)
