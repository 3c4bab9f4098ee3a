"""Filling a queue with very many messages, quickly, and outside of the journal."""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import Final

from celeriac import Celeriac
from celeriac.core.ids import uuid7
from celeriac.core.message import Message
from celeriac.torture.orders import QUEUE
from celeriac.torture.places import Place
from celeriac.wire import task_v2

AT_ONCE: Final = 1000
TIMEOUT_S: Final = 60.0
TASK: Final = "tick"
"""Does nothing with one number."""


def looking(place: Place) -> Celeriac:
    """Return an app from which to look at a place; close it."""
    return Celeriac(
        "look", broker=place.broker_url, backend=place.backend_url, task_default_queue=QUEUE, set_as_current=False
    )


def fill(place: Place, count: int) -> None:
    """Send so many messages of a task with one integer."""
    with looking(place) as app, closing(app.broker.producer()) as producer:
        for start in range(0, count, AT_ONCE):
            producer.publish([_message(number) for number in range(start, min(start + AT_ONCE, count))], TIMEOUT_S)


def _message(number: int) -> Message:
    now = time.time()
    call = task_v2.Call(id=uuid7(now, os.urandom(10)), task=TASK, args=(number % 10,), queue=QUEUE, origin="gen1@host")
    return task_v2.encode(call, now=now, max_bytes=1_000_000)


def body_bytes() -> int:
    """Return the size of what such a message tells: its body."""
    return len(_message(1).body)
