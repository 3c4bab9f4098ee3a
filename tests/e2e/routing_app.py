"""A program with queues of its own, for the end-to-end tests of routing; the prefix keeps the queues of each run apart."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

from celeriac import Celeriac
from celeriac.client.task import Task
from celeriac.queues import Broadcast, Exchange, Queue
from celeriac.torture import journal
from tests.e2e.app import JOURNAL_VARIABLE, SETTINGS_VARIABLE

PREFIX_VARIABLE = "E2E_ROUTING_PREFIX"


def route_audio(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    """A router that looks at the arguments."""
    return {"queue": f"{kwargs['into']}.plain"} if "into" in kwargs else None


def make_app(prefix: str, **settings: Any) -> Celeriac:
    """The app: a topic exchange with two queues, a broadcast, a queue with priorities, plain ones, and routes of every kind."""
    media = Exchange(f"{prefix}.media", "topic")
    return Celeriac(
        "routing",
        task_default_queue=f"{prefix}.plain",
        task_queues=[
            Queue(f"{prefix}.plain"),
            Queue(f"{prefix}.slow", alias="slow"),
            Queue(f"{prefix}.video", media, "video.#"),
            Queue(f"{prefix}.log", media, "#.hd"),
            Queue(f"{prefix}.urgent", max_priority=9),
            Broadcast(f"{prefix}.all"),
        ],
        task_create_missing_queues=False,
        task_routes=[
            route_audio,
            {
                "routing.exact": f"{prefix}.urgent",
                "routing.vid*": {"queue": f"{prefix}.video", "routing_key": "video.hd"},
                re.compile(r"routing\.(tell|shout)$"): {"queue": f"{prefix}.all"},
            },
        ],
        **settings,
    )


app = make_app(os.environ.get(PREFIX_VARIABLE, "routing"), **json.loads(os.environ.get(SETTINGS_VARIABLE, "{}")))


def note(self: Task[Any, Any], event: str, key: str) -> None:
    request = self.request
    more = {"queue": request.queue, "priority": request.delivery_info["priority"], "worker": request.hostname}
    journal.record(os.environ[JOURNAL_VARIABLE], event, key, retries=request.retries, **more)


@app.task(name="routing.run", bind=True)
def run(self: Task[Any, Any], key: str, into: str = "") -> str:
    note(self, journal.START, key)
    note(self, journal.END, key)
    return key


@app.task(name="routing.hold", bind=True)
def hold(self: Task[Any, Any], key: str, gate: str) -> str:
    note(self, journal.START, key)
    while not os.path.exists(gate):
        time.sleep(0.01)
    note(self, journal.END, key)
    return key


@app.task(name="routing.again", bind=True, max_retries=1)
def again(self: Task[Any, Any], key: str) -> str:
    note(self, journal.START, key)
    if not self.request.retries:
        raise self.retry(countdown=0.01)
    note(self, journal.END, key)
    return key


@app.task(name="routing.parent", bind=True)
def parent(self: Task[Any, Any], key: str, child: str) -> None:
    note(self, journal.START, key)
    run.apply_async((child,), queue=self.request.queue)


for name in ("routing.exact", "routing.video", "routing.tell"):
    app.task(name=name, bind=True)(run.run.__func__)  # type: ignore[attr-defined]
