"""Results: waiting for them, reading them, and what happens when the backend goes away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client.context import Request, current_request
from celeriac.core.effects import Record
from celeriac.exceptions import (
    BackendUnavailable,
    ImproperlyConfigured,
    SecurityError,
    TaskFailed,
    TaskRevokedError,
    TimeoutError,
)
from celeriac.result import AsyncResult, EagerResult
from tests.client.recording import RecordingBackend, RecordingBroker


def eventually(condition: Callable[[], object], limit_s: float = 30) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def later(backend: RecordingBackend, *args: Any, **kwargs: Any) -> threading.Thread:
    """Store a result as soon as somebody watches for it."""

    def store() -> None:
        eventually(lambda: any(args[0] in listener.watched for listener in backend.listeners))
        backend.put(*args, **kwargs)

    thread = threading.Thread(target=store)
    thread.start()
    return thread


def test_a_result_that_is_there(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("x", "SUCCESS", {"total": 3}, date_done="2026-01-02T03:04:05.000006+00:00")
    result = app.AsyncResult("x")
    assert result.get(timeout=0) == {"total": 3}
    assert (result.state, result.status, result.result, result.info) == (
        "SUCCESS",
        "SUCCESS",
        {"total": 3},
        {"total": 3},
    )
    assert result.ready()
    assert result.successful()
    assert not result.failed()
    assert result.date_done is not None
    assert result.date_done.year == 2026
    assert backend.fetches == 1, "a ready result is remembered"
    assert not any(listener.opened for listener in backend.listeners), "nothing was listened for"


def test_a_result_that_comes(app: Celeriac, backend: RecordingBackend) -> None:
    thread = later(backend, "x", "SUCCESS", 7)
    result = app.AsyncResult("x")
    assert result.state == "PENDING"
    assert result.get(timeout=30) == 7
    thread.join()
    eventually(lambda: not backend.listeners[0].watched)


def test_only_an_end_wakes_the_waiter(app: Celeriac, backend: RecordingBackend) -> None:
    result = app.AsyncResult("x")
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(result.get(timeout=30)))
    thread.start()
    eventually(lambda: backend.listeners and "x" in backend.listeners[0].watched)
    backend.put("x", "STARTED", {"pid": 1})
    backend.put("x", "RETRY", ValueError("again"))
    assert result.state == "RETRY"
    backend.put("x", "SUCCESS", 1)
    thread.join(30)
    assert seen == [1]


def test_a_timeout(app: Celeriac, backend: RecordingBackend) -> None:
    with pytest.raises(TimeoutError, match=r"task x had not ended after 0.01 s"):
        app.AsyncResult("x").get(timeout=0.01)
    eventually(lambda: not backend.listeners[0].watched)

    async def main() -> None:
        with pytest.raises(TimeoutError, match="had not ended"):
            await app.AsyncResult("x").aget(timeout=0.01)

    asyncio.run(main())


def test_a_failure_is_raised_with_the_workers_traceback(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("x", "FAILURE", ValueError("wrong", 3), "Traceback:\n  in shop.py")
    result = app.AsyncResult("x")
    for _ in range(2):
        with pytest.raises(ValueError, match="wrong") as caught:
            result.get()
        assert caught.value.args == ("wrong", 3)
        assert len(caught.value.__notes__) == 1
        assert "in shop.py" in caught.value.__notes__[0]
    assert isinstance(result.get(propagate=False), ValueError)
    assert result.failed()
    assert result.traceback == "Traceback:\n  in shop.py"


def test_revoked_and_unknown_errors(app: Celeriac, backend: RecordingBackend) -> None:
    class Unknown(Exception): ...

    Unknown.__module__ = "not.imported"
    backend.put("x", "REVOKED", TaskRevokedError("expired"))
    backend.put("y", "FAILURE", Unknown("text"))
    with pytest.raises(TaskRevokedError, match="expired"):
        app.AsyncResult("x").get()
    with pytest.raises(TaskFailed, match="text"):
        app.AsyncResult("y").get()


def test_callback(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("x", "SUCCESS", 1)
    seen: list[tuple[str, Any]] = []
    app.AsyncResult("x").get(callback=lambda task_id, value: seen.append((task_id, value)), interval=0.1)
    assert seen == [("x", 1)]


def test_many_waiters(app: Celeriac, backend: RecordingBackend) -> None:
    count = 2000

    async def main() -> list[Any]:
        waiting = [asyncio.create_task(app.AsyncResult(str(n)).aget(timeout=60)) for n in range(count)]
        await asyncio.to_thread(eventually, lambda: backend.listeners and len(backend.listeners[0].watched) == count)
        for n in range(count):
            backend.put(str(n), "SUCCESS", n)
        return await asyncio.gather(*waiting)

    assert asyncio.run(main()) == list(range(count))
    assert len(backend.listeners) == 1
    eventually(lambda: not backend.listeners[0].watched)


def test_await(app: Celeriac, backend: RecordingBackend) -> None:
    async def main() -> Any:
        thread = later(backend, "x", "SUCCESS", 5)
        result = app.AsyncResult("x")
        first, second = await asyncio.gather(result.aget(timeout=30), app.AsyncResult("x").aget(timeout=30))
        thread.join()
        return first, second, await result

    assert asyncio.run(main()) == (5, 5, 5)


def test_a_cancelled_waiter_is_forgotten(app: Celeriac, backend: RecordingBackend) -> None:
    async def main() -> None:
        waiting = asyncio.create_task(app.AsyncResult("x").aget())
        await asyncio.to_thread(eventually, lambda: backend.listeners and backend.listeners[0].watched)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.to_thread(eventually, lambda: not backend.listeners[0].watched)

    asyncio.run(main())


def test_a_lost_connection_is_made_again(app: Celeriac, backend: RecordingBackend) -> None:
    result = app.AsyncResult("x")
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(result.get(timeout=60)))
    thread.start()
    eventually(lambda: backend.listeners and "x" in backend.listeners[0].watched)
    listener = backend.listeners[0]
    listener.lose_connection()
    eventually(lambda: listener.opened == 2)
    backend.put("x", "SUCCESS", "after")
    thread.join(60)
    assert seen == ["after"]


def test_a_result_that_came_while_the_backend_was_away(app: Celeriac, backend: RecordingBackend) -> None:
    result = app.AsyncResult("x")
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(result.get(timeout=60)))
    thread.start()
    eventually(lambda: backend.listeners and "x" in backend.listeners[0].watched)
    backend.away = True
    backend.listeners[0].lose_connection()
    backend.put("x", "SUCCESS", "meanwhile")
    backend.away = False
    thread.join(60)
    assert seen == ["meanwhile"]


def test_a_backend_that_is_away(app: Celeriac, backend: RecordingBackend) -> None:
    backend.away = True
    with pytest.raises(BackendUnavailable):
        app.AsyncResult("x").get(timeout=5)


def test_closing_ends_the_waiting(app: Celeriac, backend: RecordingBackend) -> None:
    errors: list[Exception] = []

    def wait() -> None:
        try:
            app.AsyncResult("x").get()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: backend.listeners and "x" in backend.listeners[0].watched)
    app.close()
    thread.join(30)
    assert [type(error) for error in errors] == [BackendUnavailable]
    assert backend.listeners[0].closed


def test_without_a_backend_the_cure_is_named(broker: RecordingBroker) -> None:
    app = Celeriac(broker=broker, backend=RecordingBackend(stores=False))

    async def main() -> None:
        with pytest.raises(ImproperlyConfigured, match="backend="):
            await app.AsyncResult("x").aget()

    with pytest.raises(ImproperlyConfigured, match="backend="):
        app.AsyncResult("x").get()
    with pytest.raises(ImproperlyConfigured, match="backend="):
        app.AsyncResult("x").ready()
    asyncio.run(main())


def test_waiting_inside_a_task_is_refused(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("x", "SUCCESS", 1)
    token = current_request.set(Request(id="outer", task="shop.outer", called_directly=False))
    try:
        with pytest.raises(RuntimeError, match=r"shop.outer\[outer\] waits.*link="):
            app.AsyncResult("x").get()
        assert app.AsyncResult("x").get(disable_sync_subtasks=False) == 1
    finally:
        current_request.reset(token)


def test_children_parent_and_tuples(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("x", "SUCCESS", 1, children=["?", [["a", None], None], [["g", None], [[["b", None], None]]]])
    parent = app.AsyncResult("p")
    result = AsyncResult[Any]("x", app=app, parent=parent)
    assert [repr(child) for child in result.children] == ["<AsyncResult: a>", "<GroupResult: g [b]>"]
    assert result.as_tuple() == (("x", (("p", None), None)), None)
    assert (result.parent, result.root, result.as_list()) == (parent, parent, ["x", "p"])
    assert result == app.AsyncResult("x") == "x"
    assert len({result, app.AsyncResult("x")}) == 1
    assert (str(result), repr(result), result.task_id) == ("x", "<AsyncResult: x>", "x")


def test_extended_results(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("x", "SUCCESS", 1, name="n", args=[1], kwargs={"a": 1}, worker="w", retries=2, queue="q")
    backend.put("y", "SUCCESS", 1)
    result = app.AsyncResult("x")
    assert (result.name, result.args, result.kwargs, result.worker, result.retries, result.queue) == (
        "n", [1], {"a": 1}, "w", 2, "q",
    )  # fmt: skip
    bare = app.AsyncResult("y")
    assert (bare.name, bare.args, bare.kwargs, bare.worker, bare.retries, bare.queue) == (None,) * 6


def test_forget(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("x", "SUCCESS", 1)
    result = app.AsyncResult("x")
    result.get()
    result.forget()
    assert result.state == "PENDING"


def test_revoke(app: Celeriac, broker: RecordingBroker) -> None:
    before = time.time()
    app.AsyncResult("x").revoke(terminate=True, signal="SIGKILL")
    app.control.revoke(["y", "z"])
    app.control.terminate("t")
    assert [(one.id, one.terminate, one.signal) for one in broker.revocations] == [
        ("x", True, "SIGKILL"),
        ("y", False, "SIGTERM"),
        ("z", False, "SIGTERM"),
        ("t", True, "SIGTERM"),
    ]
    assert broker.revocations[0].expires_at >= before + app.settings.task_revoke_expires_s
    assert broker.admins_closed == 3


def test_a_result_that_is_given_no_app_belongs_to_the_current_one(app: Celeriac) -> None:
    app.set_current()
    assert AsyncResult[int]("x").app is app


def test_eager_results_have_the_same_face() -> None:
    for name in dir(AsyncResult):
        if not name.startswith("_") and name not in ("app",):
            assert hasattr(EagerResult, name), name


def test_a_signed_result_holds_for_its_own_task_only() -> None:
    with Celeriac(
        "x", broker="memory://", backend="memory://", result_serializer="hmac", accept_content=["hmac"]
    ) as app:
        app.conf.security_hmac_key = "a key that all of the cluster share"
        app.sender.store_state("one", "SUCCESS", "granted")
        document = app._reader.fetch(["one"])["one"]
        app._reader.store([Record("other", "SUCCESS", document, None, "")])
        assert app.AsyncResult("one").get(timeout=10) == "granted"
        with pytest.raises(SecurityError, match="task other was signed for task 'one'"):
            app.AsyncResult("other").get(timeout=10)
        with pytest.raises(SecurityError, match="task other was signed for task 'one'"):
            _ = app.AsyncResult("other").state


def test_who_looks_twice_and_goes_leaves_nothing_watched(app: Celeriac, backend: RecordingBackend) -> None:
    class Deaf:
        def hear(self, task_id: str, status: str, document: bytes) -> None: ...

        def fail(self, error: Exception) -> None: ...

    waiter, hearer = app._waiter, Deaf()
    waiter.watch(["a"], hearer)
    eventually(lambda: any("a" in listener.watched for listener in backend.listeners))
    for _ in range(50):  # as a rule the loop sees several of these at once
        waiter.unwatch(["a"], hearer)
        waiter.watch(["a"], hearer)
    waiter.unwatch(["a"], hearer)
    eventually(lambda: not any(listener.watched for listener in backend.listeners))
