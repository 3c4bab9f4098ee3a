"""Half of a surrogate pair, which JSON can hold and no text of Unicode: in what strangers send it stops no worker."""

from __future__ import annotations

import base64
import json
from typing import Any

import redis

from celeriac import Celeriac
from celeriac.worker.worker import EmbeddedWorker
from tests.services import wait_until

HALF = "\ud800"
HEADERS = {"id": "odd", "task": "add", "lang": "py"}


def envelope(**changes: Any) -> str:
    properties = {
        "delivery_info": {"exchange": "", "routing_key": "celery"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": "tag",
    }
    body = base64.b64encode(b"[[1, 2], {}, {}]").decode()
    kind = {"content-type": "application/json", "content-encoding": "utf-8"}
    return json.dumps({"body": body, **kind, "headers": HEADERS, "properties": properties, **changes})


def test_in_tasks_and_in_requests(redis_url: str) -> None:
    tasks = [
        envelope(headers=HALF),
        envelope(properties=HALF),
        *(envelope(headers={**HEADERS, name: HALF}) for name in ("retries", "timelimit", "celeriac_unique")),
    ]
    database = redis_url.rpartition("/")[2]
    with (
        Celeriac("odd", broker=redis_url, backend=redis_url) as app,
        redis.Redis.from_url(redis_url) as server,
    ):
        app.task(name="add", executor="thread")(lambda x, y: x + y)
        with EmbeddedWorker(app, hostname="one@here", concurrency=0, threads=1):
            server.lpush("celery", *tasks)
            for letter in (envelope(headers=HALF), envelope(body=base64.b64encode(b'"\\ud800"').decode())):
                assert server.publish(f"/{database}.celery.pidbox", letter) == 1
            assert app.control.ping(["one@here"], timeout=30.0) == [{"one@here": {"ok": "pong"}}]
            assert app.tasks["add"].delay(1, 2).get(timeout=30) == 3
            wait_until(lambda: server.hlen("celeriac:dead:celery") == len(tasks), "all of them are parked")
            # Nobody had to listen anew: a request that comes at once is heard.
            assert server.publish(f"/{database}.celery.pidbox", envelope()) == 1
