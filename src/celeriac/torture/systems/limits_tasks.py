"""Tasks that last longer than they may, for every kind of executor."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from typing import Final

from celeriac import Celeriac
from celeriac.exceptions import SoftTimeLimitExceeded
from celeriac.torture.journal import END, START, record
from celeriac.torture.orders import JOURNAL_VARIABLE

SOFT: Final = "soft"
"""The event of a task that feels its soft limit."""
HEEDED: Final = "heeded"
"""The result of one that heeds it."""
STEP_S: Final = 0.01
"""No exception reaches a thread that sleeps; and none should have to wait longer than this."""
ROUNDS: Final = 2**31 - 1
"""Many minutes."""
LETTERS: Final = 60
"""The regular expression takes twice as long for each: for ever."""

_JOURNAL = os.environ.get(JOURNAL_VARIABLE, os.devnull)


def endure(key: str, seconds: float) -> str:
    """Work for some time, and let every exception pass."""
    record(_JOURNAL, START, key)
    _sleep_until(time.monotonic() + seconds)
    record(_JOURNAL, END, key)
    return key


def heed(key: str, seconds: float) -> str:
    """Clean up when told that the time is over."""
    record(_JOURNAL, START, key)
    try:
        _sleep_until(time.monotonic() + seconds)
    except SoftTimeLimitExceeded:
        record(_JOURNAL, SOFT, key)
        return HEEDED
    return key


def ignore(key: str, seconds: float) -> str:
    """Go on, whatever is said."""
    record(_JOURNAL, START, key)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            _sleep_until(end)
        except SoftTimeLimitExceeded:
            record(_JOURNAL, SOFT, key)
    return key


def compute(key: str, seconds: float) -> str:
    """Call C code that lets other threads run, for many minutes."""
    record(_JOURNAL, START, key)
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", ROUNDS)
    return key


def hold(key: str, seconds: float) -> str:
    """Call C code that lets no other thread run, for ever."""
    record(_JOURNAL, START, key)
    re.match(r"(a|aa)+$", "a" * LETTERS + "b")
    return key


async def endure_async(key: str, seconds: float) -> str:
    """Work for some time, and let every exception pass."""
    record(_JOURNAL, START, key)
    await asyncio.sleep(seconds)
    record(_JOURNAL, END, key)
    return key


async def heed_async(key: str, seconds: float) -> str:
    """Clean up when told that the time is over."""
    record(_JOURNAL, START, key)
    try:
        await asyncio.sleep(seconds)
    except SoftTimeLimitExceeded:
        record(_JOURNAL, SOFT, key)
        return HEEDED
    return key


async def ignore_async(key: str, seconds: float) -> str:
    """Go on, whatever is said."""
    record(_JOURNAL, START, key)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await asyncio.sleep(end - time.monotonic())
        except SoftTimeLimitExceeded:
            record(_JOURNAL, SOFT, key)
    return key


async def compute_async(key: str, seconds: float) -> str:
    """Call C code that lets other threads run, but not the loop."""
    return compute(key, seconds)


async def hold_async(key: str, seconds: float) -> str:
    """Call C code that lets nothing run."""
    return hold(key, seconds)


DEEDS: Final = (endure, heed, ignore, compute, hold)
DEEDS_ASYNC: Final = (endure_async, heed_async, ignore_async, compute_async, hold_async)


def add_limits_tasks(app: Celeriac) -> None:
    """Give an app these tasks under the names that `task_name` returns."""
    for deed, deed_async in zip(DEEDS, DEEDS_ASYNC, strict=True):
        app.task(name=task_name(deed.__name__, "process"))(deed)
        app.task(name=task_name(deed.__name__, "thread"), executor="thread")(deed)
        app.task(name=task_name(deed.__name__, "async"))(deed_async)


def task_name(deed: str, kind: str) -> str:
    """Return the name of a deed's task for one kind of executor."""
    return f"limits.{deed}.{kind}"


def _sleep_until(end: float) -> None:
    while time.monotonic() < end:
        time.sleep(STEP_S)
