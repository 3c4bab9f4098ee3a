"""Task functions that both programs have under the same names, an error that both know, and what they note of their runs."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock_time
from decimal import Decimal
from typing import Any
from uuid import UUID

from celeriac.torture import journal

JOURNAL_VARIABLE = "INTEROP_JOURNAL"
"""File that tasks write to: what stands there has happened, whatever the brokers say."""

QUEUE_VARIABLE = "INTEROP_QUEUE"
"""The app's default queue."""

QUEUE_TYPE_VARIABLE = "INTEROP_QUEUE_TYPE"
"""RabbitMQ: the type of queues that either side makes."""

VALUES = [
    None,
    True,
    2**70,
    1.5,
    "žluťoučký \N{HORSE}",
    [1, [2, {"three": 3}]],
    datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - a naive one has to stay naive
    date(2026, 1, 2),
    clock_time(3, 4, 5, 6),
    Decimal("12.340"),
    UUID("12345678123456781234567812345678"),
    b"text",
    b"\x00\xff",
]
"""Everything that Celery's JSON can carry."""


class OutOfStock(Exception):
    """An error of the program's own."""

    def __init__(self, article: str, left: int) -> None:
        super().__init__(article, left)
        self.article = article
        self.left = left


def add(x: int, y: int) -> int:
    return x + y


def echo(value: Any) -> Any:
    return value


def note(*args: Any, key: str, nap_s: float = 0.0) -> str:
    """Put down what it was given; also a callback and an errback."""
    time.sleep(nap_s)
    journal.record(os.environ[JOURNAL_VARIABLE], journal.END, key, args=args)
    return key


def note_where(self: Any, key: str, nap_s: float) -> str:
    """Put down which worker ran it."""
    time.sleep(nap_s)
    journal.record(os.environ[JOURNAL_VARIABLE], journal.END, key, worker=self.request.hostname)
    return key


def hold(key: str, until: str) -> str:
    """Put down that it has begun, and run until there is a file of this name."""
    journal.record(os.environ[JOURNAL_VARIABLE], journal.START, key)
    while not os.path.exists(until):
        time.sleep(0.01)
    journal.record(os.environ[JOURNAL_VARIABLE], journal.END, key)
    return key


def note_id(task_id: str, *, key: str) -> None:
    """Put down the one thing that an errback is sent; Celery calls one that could take more, and gives it other things."""
    journal.record(os.environ[JOURNAL_VARIABLE], journal.END, key, args=[task_id])


def note_failure(request: Any, exc: Any, traceback: Any) -> None:
    """An errback in Celery's newer form, which is called and not sent."""
    journal.record(os.environ[JOURNAL_VARIABLE], journal.END, f"failure-of-{request.id}", error=repr(exc))


def fail(kind: str) -> None:
    if kind == "own":
        raise OutOfStock("spoon", 0)
    raise ValueError("no good", 7)


def flaky(self: Any, failures: int, countdown_s: float = 0.0) -> int:
    """Ask for a retry until it has failed so often; the last answer is the number of retries."""
    if self.request.retries < failures:
        raise self.retry(exc=OutOfStock("fork", self.request.retries), countdown=countdown_s)
    retries: int = self.request.retries
    return retries


def about(self: Any) -> dict[str, Any]:
    """Tell what the worker made of the message."""
    request = self.request
    return {
        "id": request.id,
        "root_id": request.root_id,
        "parent_id": request.parent_id,
        "group": request.group,
        "retries": request.retries,
        "tenant": getattr(request, "tenant", None),
        "priority": request.delivery_info["priority"],
        "timelimit": list(request.timelimit or ()),
        "origin": request.origin,
        "hostname": request.hostname,
    }


def stamped(self: Any, before: list[Any] | None = None) -> list[Any]:
    """Add what it is stamped with to what the steps before were."""
    names = sorted(self.request.stamped_headers or ())  # Celery has them in any order
    return [*(before or []), [self.request.hostname, names, self.request.stamps]]


def progress(self: Any) -> str:
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    return "done"


def parent(self: Any) -> str:
    """Send another task."""
    child_id: str = self.app.send_task("shop.add", (20, 22), queue=os.environ[QUEUE_VARIABLE]).id
    return child_id


def register(app: Any) -> None:
    """Make them tasks of an app, be it Celery's or ours."""
    for function in (add, echo, note, hold, note_id, note_failure, fail):
        app.task(name=f"shop.{function.__name__}")(function)
    for bound in (about, note_where, stamped, progress, parent):
        app.task(name=f"shop.{bound.__name__}", bind=True)(bound)
    app.task(name="shop.flaky", bind=True, max_retries=3)(flaky)
    app.task(name="shop.quiet", ignore_result=True)(note)
    app.task(name="shop.tracked", track_started=True)(echo)
