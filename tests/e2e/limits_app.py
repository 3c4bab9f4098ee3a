"""Tasks with limits, for the end-to-end tests; app and journal are those of `tests.e2e.app`."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from celeriac.client.task import Task
from celeriac.exceptions import Reject
from celeriac.torture import journal
from tests.e2e.app import JOURNAL_VARIABLE, app, hold, note

__all__ = ["app"]


def work(key: str, seconds: float = 0.02) -> str:
    note(journal.START, key)
    time.sleep(seconds)
    note(journal.END, key)
    return key


@app.task(name="limits.unlimited")
def unlimited(key: str) -> str:
    return work(key, 0)


@app.task(name="limits.two_at_once", max_concurrency=2)
def two_at_once(key: str) -> str:
    return work(key)


@app.task(name="limits.two_held", max_concurrency=2)
def two_held(key: str, gate: str) -> str:
    return hold(key, gate)


@app.task(name="limits.one_per_tenant", max_concurrency=1, max_concurrency_key=lambda tenant, *_: tenant)
def one_per_tenant(tenant: str, key: str, gate: str) -> str:
    return hold(key, gate)


@app.task(name="limits.five_a_second", rate_limit="5/s")
def five_a_second(key: str) -> str:
    return work(key, 0)


@app.task(name="limits.five_per_tenant", rate_limit="5/s", rate_limit_key="tenant")
def five_per_tenant(key: str, *, tenant: str) -> str:
    return work(key, 0)


@app.task(name="limits.own_rate", rate_limit="5/s", rate_limit_scope="worker")
def own_rate(key: str) -> str:
    return work(key, 0)


@app.task(name="limits.both", rate_limit="5/s", max_concurrency=1)
def both(key: str) -> str:
    return work(key)


@app.task(name="limits.once_an_hour", rate_limit="1/h")
def once_an_hour(key: str) -> str:
    return work(key, 0)


@app.task(name="limits.hourly", rate_limit="1/h")
def hourly(key: str) -> str:
    return work(key, 0)


@app.task(name="limits.slow_until_told", rate_limit="1/h")
def slow_until_told(key: str) -> str:
    return work(key, 0)


@app.task(name="limits.early", max_concurrency=1, acks_late=False)
def early(key: str) -> str:
    return work(key)


@app.task(name="limits.ends", bind=True, max_concurrency=1, max_retries=1, time_limit=1.0, soft_time_limit=None)
def ends(self: Task[Any, Any], how: str, key: str) -> str:
    """Come to an end of every kind, with the only permit."""
    with open(os.environ[JOURNAL_VARIABLE], "a+", encoding="utf-8") as lines:
        lines.seek(0)
        is_first = not any(json.loads(line)["key"] == key for line in lines)
    note(journal.START, key)
    match how:
        case "failure":
            raise ValueError(key)
        case "reject":
            raise Reject("not here")
        case "retry" if is_first:
            raise self.retry(countdown=0.05)
        case "crash" if is_first:
            os._exit(1)
        case "hard limit":
            time.sleep(60)
    note(journal.END, key)
    return key
