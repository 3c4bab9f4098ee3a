"""The program that Celeriac's workers and producers run under torture; everything at its default."""

from __future__ import annotations

import json
import os
import signal
import time

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


@app.task(name="work")
def work(key: str, seconds: float) -> str:
    """Work for some time."""
    record(JOURNAL, START, key)
    time.sleep(seconds)
    record(JOURNAL, END, key)
    return key


@app.task(name="poison")
def poison(key: str, seconds: float) -> None:
    """Kill the process that runs it, each time."""
    record(JOURNAL, START, key)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def send(key: str, order: Order) -> None:
    """Send one task; raises what `apply_async` raises."""
    options = {**order.options, **({} if order.countdown_s is None else {"countdown": order.countdown_s})}
    app.tasks[order.task].apply_async((key, order.seconds), order.arguments, **options)
