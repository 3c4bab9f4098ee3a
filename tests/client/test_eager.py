"""Running tasks on the spot."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from celeriac import Celeriac, Task
from celeriac.exceptions import ArgumentError, Ignore, Reject
from tests.client.recording import RecordingBackend, RecordingBroker


def test_a_result(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task(bind=True)
    def add(self: Task[..., Any], x: int, y: int) -> Any:
        request = self.request
        return x + y, request.is_eager, request.called_directly, request.id, request.headers

    result = add.apply((1,), {"y": 2}, task_id="mine", headers={"a": 1})
    assert result.get() == (3, True, False, "mine", {"a": 1})
    assert (result.id, result.state, result.name, result.retries) == ("mine", "SUCCESS", add.name, 0)
    assert result.ready()
    assert broker.sent.batches == []


def test_retries_do_not_wait(app: Celeriac) -> None:
    tries: list[int] = []

    @app.task(bind=True, autoretry_for=(OSError,), max_retries=3, retry_backoff=1000)
    def flaky(self: Task[..., Any]) -> str:
        tries.append(self.request.retries)
        if len(tries) < 3:
            raise OSError("again")
        return "done"

    result = flaky.apply()
    assert (result.get(), result.retries, tries) == ("done", 2, [0, 1, 2])


def test_an_error(app: Celeriac) -> None:
    @app.task
    def fail() -> None:
        raise ValueError("no")

    result = fail.apply()
    assert (result.state, result.failed()) == ("FAILURE", True)
    assert "ValueError: no" in (result.traceback or "")
    assert isinstance(result.get(propagate=False), ValueError)
    with pytest.raises(ValueError, match="no"):
        result.get()
    with pytest.raises(ValueError, match="no"):
        fail.apply(throw=True)
    app.conf.task_eager_propagates = True
    with pytest.raises(ValueError, match="no"):
        fail.apply()


def test_ignore_and_reject_keep_nothing(app: Celeriac) -> None:
    @app.task
    def end(error: Any) -> None:
        raise (Ignore() if error == "ignore" else Reject("why"))

    assert end.apply(("ignore",)).state == "IGNORED"
    assert end.apply(("reject",)).state == "IGNORED"


def test_follow_ups(app: Celeriac) -> None:
    seen: list[Any] = []

    @app.task
    def note(*args: Any) -> None:
        seen.append(args)

    @app.task
    def note_id(task_id: str) -> None:
        seen.append((task_id, "failed"))

    @app.task
    def note_error(request: Any, exc: BaseException, traceback: str) -> None:
        seen.append((request.id, type(exc)))

    @app.task
    def add(x: int) -> int:
        if x < 0:
            raise ValueError
        return x + 1

    result = add.apply((1,), link=[note.s("a"), note.si("b")], link_error=note_id.s())
    failed = add.apply((-1,), link=note.s("a"), link_error=[note_id.s(), note_error.s()])
    assert seen == [(2, "a"), ("b",), (failed.id, "failed"), (failed.id, ValueError)]
    assert len(result.children) == 2


def test_coroutines_with_and_without_a_loop(app: Celeriac) -> None:
    @app.task(bind=True)
    async def fetch(self: Task[..., Any], x: int) -> tuple[int, bool]:
        await asyncio.sleep(0)
        return x, self.request.is_eager

    async def inside() -> Any:
        app.conf.task_always_eager = True
        loop = asyncio.get_running_loop()

        @app.task
        async def which() -> bool:
            return asyncio.get_running_loop() is loop

        awaited = await which.adelay()
        return fetch.apply((2,)).get(), fetch.delay(3).get(), await (await fetch.adelay(4)), awaited.get()

    assert fetch.apply((1,)).get() == (1, True)
    assert asyncio.run(inside()) == ((2, True), (3, True), (4, True), True)


def test_always_eager(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task
    def inner(x: int) -> int:
        return x

    @app.task
    def outer(x: int) -> int:
        return inner.delay(x).get() + 1

    app.conf.task_always_eager = True
    assert outer.delay(1).get(timeout=1) == 2
    assert outer.apply_async((1,), countdown=1000).get() == 2
    with pytest.raises(ArgumentError):
        outer.delay()  # type: ignore[call-arg]
    assert broker.sent.batches == []


def test_storing_eager_results(app: Celeriac, backend: RecordingBackend) -> None:
    @app.task
    def add() -> int:
        return 3

    app.conf.task_store_eager_result = True
    result = add.apply()
    assert app.AsyncResult(result.id).get() == 3


def test_interrupts_belong_to_the_program(app: Celeriac) -> None:
    @app.task
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop.apply()


def test_update_state_does_nothing(app: Celeriac) -> None:
    @app.task(bind=True)
    def work(self: Task[..., Any]) -> int:
        self.update_state(state="PROGRESS", meta=1)
        return 1

    assert work.apply().get() == 1
