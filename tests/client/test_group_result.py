"""Results of many tasks, read together: in order, with one waiter and one batch of questions however many there are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client.context import Request, current_request
from celeriac.exceptions import (
    BackendUnavailable,
    ImproperlyConfigured,
    TaskRevokedError,
    TimeoutError,
)
from celeriac.result import (
    AsyncResult,
    GroupResult,
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
    task_join_will_block,
)
from tests.client.groups import group_of, nested, store_all, while_waiting
from tests.client.recording import RecordingBackend, RecordingBroker
from tests.client.test_results import eventually

# -- waiting -------------------------------------------------------------------------------------------------------------


def test_values_come_in_the_order_of_the_members(app: Celeriac, backend: RecordingBackend) -> None:
    group = group_of(app, "a", "b", "c")

    def store() -> None:
        for value, one in enumerate("cab"):
            backend.put(one, "SUCCESS", value)

    thread = while_waiting(backend, {"a", "b", "c"}, store)
    assert group.get(timeout=30) == [1, 2, 0]
    thread.join()
    assert group.join(timeout=0, interval=0.1) == group.join_native(timeout=0) == [1, 2, 0]
    assert backend.fetches == 1, "what has ended is remembered"
    eventually(lambda: not backend.listeners[0].watched)


def test_what_is_there_is_read_in_one_round_trip(app: Celeriac, backend: RecordingBackend) -> None:
    count = 3000
    for n in range(count):
        backend.put(str(n), "SUCCESS", n)
    assert group_of(app, *map(str, range(count))).get(timeout=0) == list(range(count))
    assert backend.fetches == 1
    assert not any(listener.opened for listener in backend.listeners), "nothing was listened for"


def test_thousands_are_watched_in_one_batch(app: Celeriac, backend: RecordingBackend) -> None:
    count = 5000
    ids = [str(n) for n in range(count)]
    thread = while_waiting(backend, set(ids), lambda: store_all(backend, {one: int(one) for one in reversed(ids)}))
    assert group_of(app, *ids).get(timeout=60) == list(range(count))
    thread.join()
    assert [len(batch) for batch in backend.listeners[0].batches] == [count]
    assert backend.fetches == 1


def test_a_group_that_nobody_waits_for_any_more_is_not_watched(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("a", "SUCCESS", 1)
    with pytest.raises(
        TimeoutError, match=r"^2 of 3 members of group g, task b the first of them, had not ended after 0.01 s"
    ):
        group_of(app, "a", "b", "c").get(timeout=0.01)
    eventually(lambda: not backend.listeners[0].watched)

    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"1 of 1 members of the result set, task b the first of them, had"):
            await app.ResultSet([app.AsyncResult("b")]).aget(timeout=0.01)
        waiting = asyncio.create_task(group_of(app, "b", "c").aget())
        await asyncio.to_thread(eventually, lambda: {"b", "c"} == backend.listeners[0].watched)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    eventually(lambda: not backend.listeners[0].watched)


def test_a_failure_is_raised_at_once_and_says_whose_it_is(app: Celeriac, backend: RecordingBackend) -> None:
    group = group_of(app, "a", "b", "c")
    thread = while_waiting(
        backend, {"a", "b", "c"}, lambda: backend.put("b", "FAILURE", ValueError("no"), "in shop.py")
    )
    with pytest.raises(ValueError, match="no") as caught:
        group.get(timeout=30)
    thread.join()
    notes = "\n".join(caught.value.__notes__)
    assert "in shop.py" in notes
    assert "member 2 of 3 of group g, task b" in notes
    for raising in (group.maybe_throw, group.maybe_reraise, group.get):
        with pytest.raises(ValueError, match="no") as caught:
            raising()
        assert "member 2 of 3" in caught.value.__notes__[-1]
    backend.put("a", "REVOKED", TaskRevokedError("expired"))
    with pytest.raises(TaskRevokedError):
        group.get(timeout=0)


def test_exceptions_among_the_values(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("a", "SUCCESS", 1)
    backend.put("b", "FAILURE", ValueError("no"))
    first, second = group_of(app, "a", "b").get(propagate=False)
    assert first == 1
    assert isinstance(second, ValueError)


def test_a_callback_for_each_as_it_comes(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("b", "SUCCESS", 2)
    seen: list[tuple[str, Any]] = []
    thread = while_waiting(backend, {"a"}, lambda: backend.put("a", "SUCCESS", 1))
    assert group_of(app, "a", "b").get(30, callback=lambda *told: seen.append(told)) == []
    thread.join()
    assert seen == [("b", 2), ("a", 1)]

    async def main() -> None:
        assert await group_of(app, "a", "b").aget(30, callback=lambda *told: seen.append(told)) == []

    asyncio.run(main())
    assert sorted(seen[2:]) == [("a", 1), ("b", 2)]


def test_members_as_they_end(app: Celeriac, backend: RecordingBackend) -> None:
    """`async for` has no timeout: each comes when it has ended, not before."""
    backend.put("b", "FAILURE", ValueError("no"))

    async def main() -> list[str]:
        seen = []
        async for member in group_of(app, "a", "b"):
            seen.append(member.id)
            assert member.ready()
            backend.put("a", "SUCCESS", 1)
        return seen

    assert asyncio.run(main()) == ["b", "a"]
    backend.documents.pop("a")
    seen = []
    for member in group_of(app, "a", "b").as_completed(timeout=30):
        seen.append((member.id, member.get(propagate=False)))
        backend.put("a", "SUCCESS", 1)
    assert [one for one, _ in seen] == ["b", "a"]
    eventually(lambda: not any(listener.watched for listener in backend.listeners))


def test_values_and_records_as_they_come(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("b", "SUCCESS", 2, group_id="g", stamps={})
    thread = while_waiting(backend, {"a"}, lambda: backend.put("a", "SUCCESS", 1))
    assert list(group_of(app, "a", "b").iterate(timeout=30)) == [2, 1]
    thread.join()
    backend.put("c", "FAILURE", ValueError("no"), "why")
    values = group_of(app, "a", "b", "c").iterate()
    with pytest.raises(ValueError, match="no"):
        list(values)
    records = dict(group_of(app, "b", "c").iter_native(timeout=0))
    assert records["b"] == {
        "status": "SUCCESS", "result": 2, "traceback": None, "children": [], "date_done": None, "group_id": "g",
        "task_id": "b",
    }  # fmt: skip
    assert (records["c"]["status"], repr(records["c"]["result"])) == ("FAILURE", "ValueError('no')")


def test_groups_in_groups(app: Celeriac, backend: RecordingBackend) -> None:
    for value, one in enumerate("abd"):
        backend.put(one, "SUCCESS", value)
    group = nested(app)
    assert group.get() == [2, [0, 1]]
    assert backend.fetches == 1
    assert [(one, type(record)) for one, record in group.iter_native()] == [("d", dict), ("g", list)]
    backend.put("b", "FAILURE", ValueError("no"))
    with pytest.raises(ValueError, match="no") as caught:
        nested(app).get()
    assert "member 2 of 2 of group g" in caught.value.__notes__[-1]


def test_results_that_nobody_keeps_are_not_waited_for(app: Celeriac, backend: RecordingBackend) -> None:
    ignored: AsyncResult[Any] = AsyncResult("i", app=app, ignored=True)
    backend.put("a", "SUCCESS", 1)
    group = app.GroupResult("g", [app.AsyncResult("a"), ignored])
    assert group.get(timeout=0) == [1, None]
    assert (group.ready(), group.successful(), group.completed_count(), str(group.progress())) == (True, True, 2, "1/1")


def test_one_id_twice(app: Celeriac, backend: RecordingBackend) -> None:
    thread = while_waiting(backend, {"a"}, lambda: backend.put("a", "SUCCESS", 1))
    assert group_of(app, "a", "a").get(timeout=30) == [1, 1]
    thread.join()


def test_members_of_two_apps(app: Celeriac, backend: RecordingBackend) -> None:
    other_backend = RecordingBackend()
    with Celeriac("other", broker=RecordingBroker(), backend=other_backend) as other:
        group = app.GroupResult("g", [app.AsyncResult("a"), other.AsyncResult("b")])
        threads = [
            while_waiting(where, {one}, lambda where=where, one=one: where.put(one, "SUCCESS", one))  # type: ignore[misc]
            for where, one in ((backend, "a"), (other_backend, "b"))
        ]
        assert group.get(timeout=30) == ["a", "b"]
        for thread in threads:
            thread.join()


def test_await(app: Celeriac, backend: RecordingBackend) -> None:
    async def main() -> Any:
        group = group_of(app, "a", "b")
        thread = while_waiting(backend, {"a", "b"}, lambda: store_all(backend, {"b": "b", "a": "a"}))
        values = await group
        thread.join()
        return values, await group.ajoin(), str(await group.aprogress())

    assert asyncio.run(main()) == (["a", "b"], ["a", "b"], "2/2")

    async def fails() -> None:
        backend.put("b", "FAILURE", ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            await group_of(app, "c", "b").aget(timeout=30)

    asyncio.run(fails())


def test_a_backend_that_is_away_or_is_none(app: Celeriac, backend: RecordingBackend) -> None:
    errors: list[Exception] = []

    def wait() -> None:
        try:
            group_of(app, "a", "b").get()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: backend.listeners and {"a", "b"} == backend.listeners[0].watched)
    app.close()
    thread.join(30)
    assert [type(error) for error in errors] == [BackendUnavailable]
    bare = Celeriac(broker=RecordingBroker(), backend=RecordingBackend(stores=False))
    with pytest.raises(ImproperlyConfigured, match="backend="):
        group_of(bare, "a").get()
    with pytest.raises(ImproperlyConfigured, match="backend="):
        group_of(bare, "a").ready()


# -- looking -------------------------------------------------------------------------------------------------------------


def test_counting(app: Celeriac, backend: RecordingBackend) -> None:
    def told(group: GroupResult[Any]) -> tuple[bool, bool, bool, bool, int, str, int]:
        progress = group.progress()
        return (
            group.ready(), group.waiting(), group.successful(), group.failed(), group.completed_count(),
            f"{progress:>5}", progress.failed,
        )  # fmt: skip

    group = nested(app)
    assert told(group) == (False, True, False, False, 0, "  0/3", 0)
    backend.put("a", "SUCCESS", 1)
    backend.put("b", "STARTED", {})
    assert told(group) == (False, True, False, False, 0, "  1/3", 0)
    backend.put("b", "FAILURE", ValueError("no"))
    assert told(group) == (False, True, False, True, 0, "  2/3", 1)
    backend.put("d", "SUCCESS", 1)
    assert told(group) == (True, False, False, True, 1, "  3/3", 1)
    backend.put("b", "SUCCESS", 2)
    assert told(nested(app)) == (True, False, True, False, 2, "  3/3", 0)
    assert told(app.GroupResult("e", [])) == (True, False, True, False, 0, "  0/0", 0)
    assert group_of(app, "a", "x").progress().waiting == 1


def test_progress_takes_one_round_trip(app: Celeriac, backend: RecordingBackend) -> None:
    for n in range(37):
        backend.put(str(n), "SUCCESS", n)
    group = group_of(app, *map(str, range(50)))
    assert str(group.progress()) == "37/50"
    assert backend.fetches == 1


def test_errors_and_values_without_waiting(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("a", "SUCCESS", 1)
    backend.put("c", "FAILURE", ValueError("no"))
    seen: list[tuple[str, Any]] = []
    with pytest.raises(ValueError, match="no"):
        group_of(app, "a", "b", "c").maybe_throw(callback=lambda *told: seen.append(told))
    assert seen == [("a", 1), ("b", None)]
    group_of(app, "a", "b", "c").maybe_throw(propagate=False)


# -- inside a task -------------------------------------------------------------------------------------------------------


def test_waiting_inside_a_task_is_refused(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("a", "SUCCESS", 1)
    group = group_of(app, "a")
    assert not task_join_will_block()
    token = current_request.set(Request(id="outer", task="shop.outer", called_directly=False))
    try:
        waits: list[Callable[[], Any]] = [
            group.get, group.join, group.join_native, lambda: asyncio.run(group.aget()), lambda: list(group.iterate()),
            lambda: list(group.as_completed()), app.ResultSet(group.results).get,
        ]  # fmt: skip
        for wait in waits:
            with pytest.raises(RuntimeError, match=r"shop.outer\[outer\] waits.*chain.*chord\(group, body\)"):
                wait()
        assert group.get(disable_sync_subtasks=False) == [1]
        assert next(iter(group.iter_native()))[0] == "a", "as in Celery"
        assert group.ready()
        with allow_join_result():
            assert group.get() == [1]
            assert_will_not_block()
            with denied_join_result(), pytest.raises(RuntimeError):
                group.get()
        assert task_join_will_block()
    finally:
        current_request.reset(token)
    with denied_join_result(), pytest.raises(RuntimeError, match="denied_join_result"):
        app.AsyncResult("a").get()
    assert app.AsyncResult("a").get() == 1
