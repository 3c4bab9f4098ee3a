"""The program whose tasks the tests of unique tasks run: `make` gives the same tasks to the callers' app."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from celeriac import Celeriac, Unique
from celeriac.client.task import Task
from celeriac.exceptions import Ignore, Reject
from tests.e2e.app import SETTINGS_VARIABLE, hold, note


def make(**settings: Any) -> Celeriac:
    """Return an app with the tasks."""
    app = Celeriac("unique", **settings)

    @app.task(unique=True)
    def work(key: str, number: int = 0) -> str:
        note("start", key, number=number)
        note("end", key)
        return key

    @app.task(unique=Unique(by="key"))
    def held(key: str, gate: str) -> str:
        return hold(key, gate)

    @app.task(unique=Unique(by="key", until="started"))
    def refresh(key: str, gate: str) -> str:
        return hold(key, gate)

    @app.task(unique=Unique(by="key", on_conflict="replace"))
    def newest(key: str, number: int, gate: str) -> int:
        note("number", key, number=number)
        hold(key, gate)
        return number

    @app.task(unique=Unique(by="key", on_conflict="queue"))
    def in_turn(key: str, number: int, gate: str) -> int:
        note("number", key, number=number)
        hold(key, gate)
        return number

    @app.task(unique=Unique(by=lambda key, *_: key.lower(), until=1.5))
    def now_and_then(key: str, number: int = 0) -> int:
        note("start", key, number=number)
        return number

    @app.task(bind=True, unique=Unique(by="key"), max_retries=3)
    def end(self: Task[Any, Any], key: str, how: str) -> str:
        note("start", key, how=how)
        match how:
            case "failure":
                raise ValueError("no good")
            case "ignore":
                raise Ignore
            case "reject":
                raise Reject("not here")
            case "retry" if self.request.retries < 1:
                raise self.retry(countdown=0.01)
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hard limit":
                signal.pause()
        return how

    @app.task(bind=True, unique=Unique(by="key"))
    def tries_again(self: Task[Any, Any], key: str, gate: str) -> int:
        note("start", key)
        if self.request.retries < 1:
            raise self.retry(countdown=1.0)
        hold(key, gate)
        return self.request.retries

    @app.task(bind=True, unique=Unique(by="key"))
    def replaces_itself(self: Task[Any, Any], key: str, times: int) -> int:
        note("start", key)
        if times:
            raise self.replace(replaces_itself.s(key, times - 1).set(queue=self.request.delivery_info["routing_key"]))
        return times

    @app.task(bind=True, unique=Unique(by="key"), max_retries=None)
    def retries_at_once(self: Task[Any, Any], key: str, times: int) -> int:
        note("start", key)
        if self.request.retries < times:
            raise self.retry(countdown=0)
        return times

    @app.task(unique=Unique(by="key"), acks_late=False)
    def acknowledged_early(key: str, gate: str) -> str:
        return hold(key, gate)

    return app


app = make(**json.loads(os.environ.get(SETTINGS_VARIABLE, "{}")))
