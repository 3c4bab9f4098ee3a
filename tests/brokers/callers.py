"""What programs and tasks get to hear when they send to a broker in trouble."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

from celeriac import Celeriac
from celeriac.client.task import Task
from celeriac.exceptions import BrokerUnavailable
from celeriac.worker.worker import EmbeddedWorker

DEADLINE_S = 60.0
TIMEOUT_S = 0.6
"""`publish_timeout_s` of these programs."""


def program(url: str, timeout_s: float = TIMEOUT_S, **settings: Any) -> Celeriac:
    """A program with one task, that gives a publish little time."""
    app = Celeriac("caller", broker=url, publish_timeout_s=timeout_s, broker_connection_timeout=0.3, **settings)
    app.task(name="note")(note)
    return app


def note(text: str) -> str:
    return text


def task_of(app: Celeriac) -> Task[Any, Any]:
    return app.tasks["note"]


def send_in_each_way(app: Celeriac, sent: Callable[[], Any] = lambda: None) -> list[type[Exception]]:
    """Call a task by `delay`, by `adelay` and many at once; return what each raised.

    Raises AssertionError for one that succeeds, or does not come back.
    """
    task = task_of(app)

    async def many() -> None:
        calls = await asyncio.gather(*(task.adelay(str(number)) for number in range(20)), return_exceptions=True)
        problems = [call for call in calls if isinstance(call, BrokerUnavailable)]
        assert len(problems) == len(calls), calls
        kinds = {type(problem) for problem in problems}
        raise problems[0] if len(kinds) == 1 else BrokerUnavailable("in several ways")

    ways: list[Callable[[], Any]] = [
        lambda: task.delay("now"),
        lambda: asyncio.run(task.adelay("soon")),
        lambda: asyncio.run(many()),
    ]
    return [raised_by(way) for way in ways]


def raised_by(call: Callable[[], Any]) -> type[Exception]:
    """Return what a call raises; AssertionError when that is nothing, or it hangs."""
    raised: list[Exception | None] = []

    def run() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)
        else:
            raised.append(None)

    # In the caller's context: which task runs here is part of it.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert raised, "it hangs"
    (error,) = raised
    assert error is not None, "it should have failed"
    assert isinstance(error, BrokerUnavailable), repr(error)
    return type(error)


def raised_in_a_task(app: Celeriac, freeze: Callable[[], object], thaw: Callable[[], object]) -> type[Exception]:
    """Return what a running task gets when it sends while the broker of its own worker stands still."""
    begun, frozen, ended = threading.Event(), threading.Event(), threading.Event()
    raised: list[type[Exception]] = []

    @app.task(name="sends")
    def sends() -> None:
        begun.set()
        assert frozen.wait(DEADLINE_S)
        try:
            raised.append(raised_by(lambda: task_of(app).delay("from a task")))
        finally:
            ended.set()

    with EmbeddedWorker(app, concurrency=1, threads=1):
        sends.delay()
        assert begun.wait(DEADLINE_S)
        freeze()
        try:
            frozen.set()
            assert ended.wait(DEADLINE_S)
        finally:
            thaw()
    return raised[0]
