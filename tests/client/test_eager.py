"""Running tasks on the spot."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import pytest

from celeriac import Celeriac, Task
from celeriac.exceptions import (
    ArgumentError,
    EncodeError,
    Ignore,
    MaxRetriesExceededError,
    MessageTooLarge,
    Reject,
    TaskRevokedError,
)
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


def test_ignore_and_reject(app: Celeriac) -> None:
    @app.task
    def end(error: Any) -> None:
        raise (Ignore() if error == "ignore" else Reject("why"))

    ignored, rejected = end.apply(("ignore",)), end.apply(("reject",), throw=True)
    assert (ignored.state, ignored.get(), ignored.successful(), ignored.failed()) == ("IGNORED", None, False, False)
    assert (rejected.state, rejected.get(), rejected.ready()) == ("REJECTED", None, True)
    assert isinstance(rejected.result, Reject)


def test_what_a_worker_would_refuse_is_refused(app: Celeriac, broker: RecordingBroker) -> None:
    @app.task
    def take(value: Any) -> Any:
        return value

    @app.task
    def give() -> Any:
        return object()

    app.conf.task_always_eager = True
    with pytest.raises(ArgumentError, match="'value'"):
        take.delay(object())
    with pytest.raises(ArgumentError, match="header 'root_id'"):
        take.apply(("x",), headers={"root_id": "mine"})
    with pytest.raises(TypeError, match="did you mean 'countdown'"):
        take.apply(("x",), **{"cuntdown": 1})
    with pytest.raises(MessageTooLarge):
        take.apply(("x" * 2_000_000,))
    assert take.delay({"when": (1, 2)}).get() == {"when": [1, 2]}  # as it comes out of a message
    assert isinstance(give.delay().result, EncodeError)
    assert give.apply(ignore_result=True).state == "SUCCESS"
    assert broker.sent.batches == []


def test_the_request_is_that_of_a_worker(app: Celeriac) -> None:
    app.conf.task_routes = {"*.tell": {"queue": "told"}}

    @app.task(bind=True, name="shop.tell", time_limit=20, soft_time_limit=10)
    def tell(self: Task[..., Any]) -> dict[str, Any]:
        request = self.request
        assert request.delivery_info["is_eager"] is True
        names = ("id", "root_id", "parent_id", "correlation_id", "retries", "group", "reply_to", "timelimit", "shadow")
        return {name: getattr(request, name) for name in names} | {
            "hostname": request.hostname == app.origin,
            "routing_key": request.delivery_info["routing_key"],
        }

    told = tell.apply(task_id="t", root_id="r", parent_id="p", group_id="g", retries=2, shadow="s").get()
    assert told == {
        "id": "t",
        "root_id": "r",
        "parent_id": "p",
        "correlation_id": "t",
        "retries": 2,
        "group": "g",
        "reply_to": None,
        "timelimit": [20, 10],
        "shadow": "s",
        "hostname": True,
        "routing_key": "told",
    }

    @app.task(bind=True)
    def outer(self: Task[..., Any]) -> Any:
        return self.request.id, self.request.root_id, tell.apply().get()

    own_id, root_id, inner = outer.apply().get()
    assert (inner["parent_id"], inner["root_id"], root_id) == (own_id, root_id, own_id)


def test_a_retry_with_other_arguments_and_options(app: Celeriac) -> None:
    runs: list[Any] = []

    @app.task(bind=True)
    def poll(self: Task[..., Any], x: int, y: int = 0) -> int:
        runs.append((x, y, self.request.retries, self.request.id, self.request.parent_id, self.request.headers))
        if self.request.retries < 2:
            raise self.retry(args=(x + 1,), kwargs={"y": y}, headers={"n": x}, countdown=100)
        return x

    result = poll.apply((1,), {"y": 5}, task_id="same", retries=1, parent_id="p")
    assert (result.get(), result.retries, result.id) == (2, 2, "same")
    assert runs == [(1, 5, 1, "same", "p", {}), (2, 5, 2, "same", "p", {"n": 1})]

    @app.task(bind=True, max_retries=1)
    def exhausted(self: Task[..., Any]) -> None:
        raise self.retry()

    with pytest.raises(MaxRetriesExceededError):
        exhausted.apply(throw=True)


def test_an_eager_result_is_a_result(app: Celeriac) -> None:
    seen: list[Any] = []

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    result = add.apply((1, 2))
    assert (result.wait(timeout=1), result.status, result.info, result.args, result.kwargs) == (
        3,
        "SUCCESS",
        3,
        [1, 2],
        {},
    )
    assert (result.get(1, True, callback=lambda *told: seen.append(told)), seen) == (3, [(result.id, 3)])
    assert (result.successful(), result.date_done is not None, result.traceback) == (True, True, None)
    assert (result.maybe_throw(), result.as_list(), result.supports_native_join) == (3, [result.id], False)
    result.then(seen.append)
    assert seen[-1] is result
    for same in (copy.copy(result), pickle.loads(pickle.dumps(result))):
        assert (same.id, same.get(), same == result) == (result.id, 3, True)
    result.forget()
    result.revoke()
    assert (result.state, repr(result.result)) == ("REVOKED", "TaskRevokedError('revoked')")
    with pytest.raises(TaskRevokedError):
        result.get()


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
    assert len(result.children or ()) == 2


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
    def add(x: int = 1) -> float:
        return 3 / x

    assert app.AsyncResult(add.apply().id).state == "PENDING"
    app.conf.task_store_eager_result = True
    assert app.AsyncResult(add.apply().id).get() == 3
    assert app.AsyncResult(add.apply((0,)).id).state == "FAILURE"
    assert app.AsyncResult(add.apply(ignore_result=True).id).state == "PENDING"
    assert app.AsyncResult(add.apply((0,), ignore_result=True).id).state == "PENDING"
    add.store_errors_even_if_ignored = True
    assert app.AsyncResult(add.apply((0,), ignore_result=True).id).state == "FAILURE"
    add.store_eager_result = False
    assert app.AsyncResult(add.apply().id).state == "PENDING"


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
