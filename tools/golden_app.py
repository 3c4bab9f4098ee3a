"""The Celery app that tools/record_golden.py sends from, and that its worker runs."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import Celery, group
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded, TaskRevokedError

from tests.wire.golden import NAMES

URL = os.environ.get("GOLDEN_URL", "")

app = Celery("shop", broker=URL, backend=URL if URL.startswith("redis") else None)
app.conf.update(
    broker_connection_retry_on_startup=True,
    result_extended=os.environ.get("GOLDEN_EXTENDED") == "1",
    task_protocol=int(os.environ.get("GOLDEN_PROTOCOL", "2")),
    task_track_started=True,
)


class ShopError(Exception):
    """An exception of the user's own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)

    class Nested(Exception):
        """One that stands in another class."""


RAISED = {
    "Ignore": Ignore,
    "Reject": Reject,
    "ShopError": ShopError,
    "SoftTimeLimitExceeded": SoftTimeLimitExceeded,
    "TaskRevokedError": TaskRevokedError,
}


@app.task(name="shop.add")
def add(x: Any = None, y: Any = None) -> Any:
    return x + y


@app.task(name="shop.echo")
def echo(*args: Any, **kwargs: Any) -> Any:
    return args[0] if args else kwargs


@app.task(name="shop.give")
def give(source: str) -> Any:
    return eval(source, dict(NAMES))


@app.task(name="shop.fail")
def fail(source: str) -> None:
    raise eval(source, {**RAISED, "__name__": __name__})


@app.task(name="shop.crash")
def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="shop.slow", time_limit=1)
def slow() -> None:
    time.sleep(30)


@app.task(name="shop.soft", soft_time_limit=1)
def soft() -> None:
    time.sleep(30)


@app.task(name="shop.wait")
def wait() -> None:
    time.sleep(30)


@app.task(name="shop.retry", bind=True, max_retries=1)
def retry(self: Any, queue: str, *args: Any) -> None:
    raise self.retry(exc=ShopError(7, "again"), countdown=3600, queue=queue)


@app.task(name="shop.retry_out", bind=True, max_retries=0)
def retry_out(self: Any) -> None:
    raise self.retry(countdown=3600)


@app.task(name="shop.parent")
def parent(queue: str) -> str:
    add.apply_async((1, 2), task_id="child-1", queue=queue)
    members = [add.s(1, 1).set(queue=queue, task_id="child-2"), add.s(2, 2).set(queue=queue, task_id="child-3")]
    group(members).apply_async(task_id="child-group")
    return "sent"


@app.task(name="shop.progress", bind=True)
def progress(self: Any) -> int:
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    return 2
