"""The program whose tasks the end-to-end tests run: as a user would write it, with a journal of what really happened.

It is told by the environment where it is: broker and backend by Celeriac's own variables, journal and settings by ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

from celeriac import Celeriac
from celeriac.client.task import Task
from celeriac.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celeriac.torture import journal

JOURNAL_VARIABLE = "E2E_JOURNAL"
"""File that tasks write to."""
SETTINGS_VARIABLE = "E2E_SETTINGS"
"""Settings of the app as JSON."""

app = Celeriac("e2e", **json.loads(os.environ.get(SETTINGS_VARIABLE, "{}")))


class OutOfStock(Exception):
    """An error of the program's own."""

    def __init__(self, article: str, left: int) -> None:
        super().__init__(article, left)
        self.article = article
        self.left = left


class NeedsKeyword(Exception):
    """An error that can't be made again from its arguments."""

    def __init__(self, *, why: str) -> None:
        super().__init__(why)


def note(event: str, key: str, **more: Any) -> None:
    journal.record(os.environ[JOURNAL_VARIABLE], event, key, **more)


# -- results ----------------------------------------------------------------------------------------------------------


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(executor="thread")
def add_in_thread(x: int, y: int) -> int:
    return x + y


@app.task
async def add_async(x: int, y: int) -> int:
    await asyncio.sleep(0.01)
    return x + y


@app.task
def echo(value: Any) -> Any:
    return value


class Quits(Task[Any, Any]):
    """A handler that does what no handler should."""

    def on_success(self, *args: Any) -> None:
        raise SystemExit(1)


class CancelsItself(Task[Any, Any]):
    def on_success(self, *args: Any) -> None:
        raise asyncio.CancelledError


@app.task(base=Quits)
def quits(x: int) -> int:
    return x


@app.task(base=Quits, executor="thread")
def quits_in_thread(x: int) -> int:
    return x


@app.task(base=CancelsItself)
async def cancels_itself(x: int) -> int:
    return x


@app.task(bind=True)
def retries_oddly(self: Any, option: str, value: Any) -> None:
    raise self.retry(countdown=0.01, **{option: value})


@app.task(bind=True, soft_time_limit=0.5)
def reports_much(self: Any) -> str:
    try:
        while True:
            self.update_state(state="PROGRESS", meta="x" * 1_000_000)
    except SoftTimeLimitExceeded:
        return "soft"


@app.task
def big(size: int) -> str:
    return "x" * size


@app.task
def unwritable() -> object:
    return object()


@app.task(bind=True)
def about(self: Task[Any, Any], key: str) -> dict[str, Any]:
    request = self.request
    note(journal.END, key)
    return {
        "id": request.id,
        "task": request.task,
        "root_id": request.root_id,
        "retries": request.retries,
        "hostname": request.hostname,
        "tenant": request.headers.get("tenant"),
        "queue": request.delivery_info["routing_key"],
        "priority": request.delivery_info["priority"],
    }


@app.task(ignore_result=True)
def quiet(key: str) -> str:
    note(journal.END, key)
    return "nobody hears this"


@app.task
def fail(kind: str) -> None:
    match kind:
        case "builtin":
            raise ValueError("no good", 7)
        case "own":
            raise OutOfStock("spoon", 0)
        case "not reproducible":
            raise NeedsKeyword(why="because")
        case "ignore":
            raise Ignore
        case "reject":
            raise Reject("not here")
        case "exit":
            raise SystemExit(3)
        case "unicode":
            raise RuntimeError("žluťoučký kůň \N{HORSE} \ud800")


@app.task(bind=True)
def progress(self: Task[Any, Any], key: str, gate: str) -> str:
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    hold(key, gate)
    return "done"


@app.task
def collect(*args: Any, key: str) -> None:
    """A callback: keep what it was given."""
    note("collected", key, args=args)


@app.task
def collect_id(task_id: str, *, key: str) -> None:
    """An errback: keep whose it is."""
    note("collected", key, args=[task_id])


@app.task
def send_more(key: str, count: int, queue: str) -> list[str]:
    note(journal.START, key)
    results = [app.send_task(f"{__name__}.work", [f"{key}.{number}"], queue=queue) for number in range(count)]
    note(journal.END, key)
    return [result.id for result in results]


# -- work -------------------------------------------------------------------------------------------------------------


@app.task
def work(key: str, seconds: float = 0.0) -> str:
    note(journal.START, key)
    if seconds:
        time.sleep(seconds)
    note(journal.END, key)
    return key


def hold(key: str, gate: str) -> str:
    """Run until the gate opens: a file that the test makes."""
    note(journal.START, key)
    while not os.path.exists(gate):
        time.sleep(0.01)
    note(journal.END, key)
    return key


@app.task
def held(key: str, gate: str) -> str:
    return hold(key, gate)


@app.task(executor="thread")
def held_in_thread(key: str, gate: str) -> str:
    return hold(key, gate)


@app.task
async def held_async(key: str, gate: str) -> str:
    note(journal.START, key)
    while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240 - whoever opens it is in another process
        await asyncio.sleep(0.01)
    note(journal.END, key)
    return key


# -- retries ----------------------------------------------------------------------------------------------------------


@app.task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=0.05)
def flaky(self: Task[Any, Any], key: str, failures: int) -> int:
    note(journal.START, key, retries=self.request.retries)
    if self.request.retries < failures:
        raise ConnectionError(f"try {self.request.retries}")
    note(journal.END, key)
    return self.request.retries


@app.task(bind=True, max_retries=5)
def counts_down(self: Task[Any, Any], key: str, number: int, countdown: float) -> str:
    now = time.time()
    note(journal.START, key, number=number, countdown=countdown)
    if number:
        raise self.retry(args=(key, number - 1), kwargs={"countdown": countdown}, countdown=countdown)
    note(journal.END, key, after=time.time() - now)
    return f"down after {self.request.retries}"


@app.task(bind=True, max_retries=2)
def never_happy(self: Task[Any, Any], key: str, with_cause: bool) -> None:
    note(journal.START, key)
    try:
        raise OutOfStock("fork", 1)
    except OutOfStock as error:
        raise self.retry(exc=error if with_cause else None, countdown=0.01)


# -- limits -----------------------------------------------------------------------------------------------------------


def work_until_soft_limit(key: str, nap_s: float) -> str:
    note(journal.START, key)
    try:
        while True:
            time.sleep(nap_s)
    except SoftTimeLimitExceeded:
        note("soft", key)
        return "tidied up"


@app.task(soft_time_limit=0.3, time_limit=60)
def soft(key: str) -> str:
    return work_until_soft_limit(key, 10)


@app.task(executor="thread", soft_time_limit=0.3, time_limit=60)
def soft_in_thread(key: str) -> str:
    return work_until_soft_limit(key, 0.01)


@app.task(soft_time_limit=0.3, time_limit=60)
async def soft_async(key: str) -> str:
    note(journal.START, key)
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        note("soft", key)
    return "tidied up"


def never_end(key: str) -> None:
    note(journal.START, key)
    while True:
        time.sleep(10)


@app.task(soft_time_limit=None, time_limit=0.5)
def stuck(key: str) -> None:
    never_end(key)


@app.task(executor="thread", soft_time_limit=None, time_limit=0.5)
def stuck_in_thread(key: str) -> None:
    never_end(key)


@app.task(soft_time_limit=None, time_limit=0.5)
async def stuck_async(key: str) -> None:
    never_end(key)  # and with it the whole event loop


# -- crashes ----------------------------------------------------------------------------------------------------------


@app.task
def dies(key: str, times: int) -> str:
    """Kill the own process the first `times` times."""
    note(journal.START, key)
    with open(os.environ[JOURNAL_VARIABLE], encoding="utf-8") as lines:
        runs = sum(1 for line in lines if json.loads(line)["key"] == key)
    if runs <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    note(journal.END, key)
    return f"run {runs}"


@app.task
def grows(key: str, mebibytes: int) -> int:
    note(journal.START, key)
    _leak.append(bytearray(os.urandom(1024) * 1024 * mebibytes))
    note(journal.END, key)
    return os.getpid()


_leak: list[bytearray] = []
