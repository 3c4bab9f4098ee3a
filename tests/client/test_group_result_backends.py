"""Groups of results on real backends, their tasks run by a real worker in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celeriac, Task
from celeriac.contrib.testing.worker import start_worker
from celeriac.exceptions import ImproperlyConfigured, TimeoutError
from celeriac.result import AsyncResult, GroupResult, allow_join_result, result_from_tuple
from tests.client.test_results import eventually

LIMIT_S = 60.0
PLACES = (
    pytest.param("memory"),
    pytest.param("sqlite"),
    pytest.param("redis", marks=pytest.mark.redis),
    pytest.param("rpc", marks=pytest.mark.rabbitmq),
)

gate = threading.Event()


def make(broker: str, backend: str) -> Celeriac:
    app = Celeriac("groups", broker=broker, backend=backend, set_as_current=False)

    @app.task(name="double")
    def double(x: int) -> int:
        return 2 * x

    @app.task(name="fail")
    def fail(x: int) -> int:
        raise ValueError(x)

    @app.task(name="through the gate")
    def through_the_gate(x: int) -> int:
        assert gate.wait(LIMIT_S)
        return x

    @app.task(bind=True, name="waits")
    def waits(self: Task[..., Any], ids: list[str]) -> list[Any]:
        group = self.app.GroupResult("g", [self.app.AsyncResult(one) for one in ids])
        with pytest.raises(RuntimeError) as refusal:
            group.get(timeout=LIMIT_S)
        with allow_join_result():
            return [str(refusal.value), group.get(timeout=LIMIT_S)]

    @app.task(bind=True, name="sends")
    def sends(self: Task[..., Any]) -> str:
        return double.delay(1).id

    return app


@pytest.fixture(scope="module", params=PLACES)
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Celeriac]:
    broker = backend = "memory://"
    if request.param == "sqlite":
        backend = f"sqlite:///{tmp_path_factory.mktemp('groups')}/results.db"
    elif request.param == "redis":
        backend = request.getfixturevalue("redis_server").fresh_url()
    elif request.param == "rpc":
        broker, backend = request.getfixturevalue("rabbit_server").fresh_url(), "rpc://"
    with make(broker, backend) as app, start_worker(app, concurrency=4, perform_ping_check=False):
        yield app


@pytest.fixture(autouse=True)
def _gate() -> Iterator[None]:
    gate.clear()
    yield
    gate.set()


def send(app: Celeriac, task: str, *values: Any) -> GroupResult[Any]:
    return app.GroupResult(None, [app.send_task(task, (value,)) for value in values])


def test_values_and_progress(app: Celeriac) -> None:
    quick, slow = send(app, "double", *range(300)), send(app, "through the gate", 1, 2)
    assert quick.get(timeout=LIMIT_S) == [2 * n for n in range(300)]
    both: GroupResult[Any] = app.GroupResult(None, [quick, slow])
    eventually(lambda: str(both.progress()) == "300/302")
    with pytest.raises(TimeoutError, match=r"1 of 2 members of group .* had not ended after 0.05 s"):
        both.get(timeout=0.05)
    gate.set()
    assert both.get(timeout=LIMIT_S)[1] == [1, 2]
    assert (str(both.progress()), both.successful(), both.completed_count()) == ("302/302", True, 2)


def test_a_failure_among_them(app: Celeriac) -> None:
    group: GroupResult[Any] = app.GroupResult(None, [*send(app, "through the gate", 1), *send(app, "fail", 2)])
    with pytest.raises(ValueError, match="2") as caught:
        group.get(timeout=LIMIT_S)
    assert "member 2 of 2" in caught.value.__notes__[-1]
    assert group.failed()
    gate.set()
    assert [repr(value) for value in group.get(timeout=LIMIT_S, propagate=False)] == ["1", "ValueError(2)"]


def test_coroutines(app: Celeriac) -> None:
    async def main() -> tuple[list[Any], set[int], str]:
        group = send(app, "double", 1, 2, 3)
        seen = {await member async for member in group}
        return await send(app, "double", 1, 2, 3), seen, str(await group.aprogress())

    assert asyncio.run(main()) == ([2, 4, 6], {2, 4, 6}, "3/3")


def test_callbacks(app: Celeriac) -> None:
    told = threading.Event()
    seen: list[Any] = []

    def callback(group: GroupResult[Any]) -> None:
        seen.append(group.get())
        told.set()

    send(app, "double", 1, 2).then(callback)
    assert told.wait(LIMIT_S)
    assert seen == [[2, 4]]


def test_inside_a_task(app: Celeriac) -> None:
    if app.reply_to is not None:
        pytest.skip("results of other tasks are sent elsewhere")
    ids = [member.id for member in send(app, "double", 1, 2)]
    refusal, values = app.send_task("waits", (ids,)).get(timeout=LIMIT_S)
    assert "task waits[" in refusal
    assert "chord(group, body)" in refusal
    assert values == [2, 4]


def test_what_a_task_has_sent(app: Celeriac) -> None:
    result = app.send_task("sends")
    child_id = result.get(timeout=LIMIT_S)
    assert [repr(child) for child in result.children] == [f"<AsyncResult: {child_id}>"]
    if app.reply_to is None:
        assert [value for _, value in result.collect(timeout=LIMIT_S)] == [child_id, 2]
        assert len(result.graph) == 2


def test_found_again_by_its_id(app: Celeriac) -> None:
    group = send(app, "double", 1, 2)
    if not app.backend.counts_chords:
        with pytest.raises(ImproperlyConfigured, match="does not keep groups"):
            group.save()
        return
    group.save()
    found = app.GroupResult.restore(group.id)
    assert found is not None
    assert (found, found.get(timeout=LIMIT_S)) == (group, [2, 4])
    found.forget()
    assert {member.state for member in found} == {"PENDING"}
    found.delete()
    assert app.GroupResult.restore(group.id) is None


def test_tuples_travel_as_results(app: Celeriac) -> None:
    group = send(app, "double", 1, 2)
    app.sender.store_state("told", "SUCCESS", group.as_tuple())
    read = result_from_tuple(AsyncResult[Any]("told", app=app).get(timeout=LIMIT_S), app)
    assert read.get(timeout=LIMIT_S) == [2, 4]
