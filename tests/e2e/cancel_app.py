"""The program whose tasks the tests of cancelling run: tasks that take their end in different ways."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

from celeriac import Celeriac, Task
from celeriac.contrib.abortable import AbortableTask
from celeriac.exceptions import SoftTimeLimitExceeded, Terminated
from tests.e2e.app import SETTINGS_VARIABLE, hold, note

app = Celeriac("cancel", **json.loads(os.environ.get(SETTINGS_VARIABLE, "{}")))


@app.task
def held(key: str, gate: str) -> str:
    return hold(key, gate)


@app.task(executor="thread")
def held_in_thread(key: str, gate: str) -> str:
    return hold(key, gate)


@app.task
async def held_async(key: str, gate: str) -> str:
    note("start", key)
    while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240 - whoever opens it is in another process
        await asyncio.sleep(0.01)
    note("end", key)
    return key


@app.task
def work(key: str) -> str:
    note("start", key)
    return key


@app.task(ignore_result=True)
def quiet(key: str) -> None:
    note("start", key)


@app.task
def errback(task_id: str, *, key: str) -> None:
    note("errback", key)


# -- SIGUSR1 ----------------------------------------------------------------------------------------------------------


def until_soft(key: str) -> str:
    note("start", key)
    try:
        while True:
            time.sleep(0.01)
    except SoftTimeLimitExceeded:
        return "tidied up"


@app.task(soft_time_limit=None, time_limit=60)
def soft(key: str) -> str:
    return until_soft(key)


@app.task(executor="thread")
def soft_in_thread(key: str) -> str:
    return until_soft(key)


@app.task(soft_time_limit=None, time_limit=60)
async def soft_async(key: str) -> str:
    note("start", key)
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0)
        return "tidied up"
    return "slept through"


# -- tasks that clean up ----------------------------------------------------------------------------------------------


@app.task(executor="thread")
def cleans_up_in_thread(key: str) -> None:
    note("start", key)
    try:
        while True:
            time.sleep(0.01)
    except Terminated:
        note("cleaned", key)
        raise


@app.task
async def cleans_up_async(key: str) -> None:
    note("start", key)
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        note("cleaned", key)


@app.task
async def fails_cleaning_up(key: str) -> None:
    note("start", key)
    try:
        await asyncio.sleep(60)
    finally:
        raise ValueError("in the clean-up")


@app.task
def cleans_up(key: str) -> None:
    def stop(_signum: int, _frame: object) -> None:
        note("cleaned", key)
        raise SystemExit(1)

    signal.signal(signal.SIGTERM, stop)
    note("start", key)
    while True:
        time.sleep(0.01)


# -- tasks that end in their own right --------------------------------------------------------------------------------


@app.task
async def finishes_async(key: str) -> str:
    note("start", key)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "finished anyway"
    return "slept through"


@app.task(executor="thread")
def finishes_in_thread(key: str) -> str:
    note("start", key)
    try:
        while True:
            time.sleep(0.01)
    except Terminated:
        return "finished anyway"


@app.task
def finishes(key: str) -> str:
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _frame: told.append(signum))
    note("start", key)
    while not told:
        time.sleep(0.01)
    return "finished anyway"


@app.task(ignore_result=True)
def exits_quietly(key: str) -> None:
    def leave(_signum: int, _frame: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, leave)
    note("start", key)
    while True:
        time.sleep(0.01)


# -- tasks that do not heed it ----------------------------------------------------------------------------------------


@app.task
def stubborn(key: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("start", key)
    while True:
        time.sleep(0.01)


@app.task(executor="thread")
def stubborn_in_thread(key: str) -> None:
    note("start", key)
    while True:
        try:
            while True:
                time.sleep(0.01)
        except Terminated:
            note("heard", key)


@app.task
async def stubborn_async(key: str) -> None:
    note("start", key)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            note("heard", key)


# -- others -----------------------------------------------------------------------------------------------------------


@app.task(bind=True, max_retries=5)
def retries(self: Task[Any, Any], key: str, countdown: float) -> None:
    note("start", key)
    raise self.retry(countdown=countdown)


@app.task(bind=True, base=AbortableTask)
def abortable(self: Any, key: str) -> str:
    note("start", key)
    while not self.is_aborted():
        self.update_state(state="PROGRESS")
        time.sleep(0.01)
    self.update_state(state="PROGRESS")
    return "stopped half way" if self.is_aborted() else "forgot it"
