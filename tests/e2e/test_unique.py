"""Of calls with the same key one is in the broker or runs, whatever becomes of it; afterwards the key is free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from celeriac import Celeriac, Unique
from celeriac.client.result import AsyncResult
from celeriac.exceptions import CoordinationUnavailable, DuplicateTask, ImproperlyConfigured, TaskRevokedError
from tests.e2e.harness import DEADLINE_S, SETTINGS, Fleet, Guard, Place, Scene, WorkerProcess
from tests.e2e.unique_app import make
from tests.services import PrivateRedis

PROGRAM = "tests.e2e.unique_app"
SHARED_QUEUE = "unique"


class Shop:
    """A scene, and the callers' app with the program's tasks."""

    def __init__(self, scene: Scene, settings: dict[str, Any]) -> None:
        self.scene = scene
        self.settings = settings
        self.app = self.make_app()
        self._workers: list[WorkerProcess] = []

    def make_app(self) -> Celeriac:
        place = self.scene.place
        return make(broker=place.broker_url, backend=place.backend_url, **{**SETTINGS, **self.settings})

    def worker(self, *options: str) -> WorkerProcess:
        return self.scene.worker(*(options or ("-c", "1")), settings=self.settings)

    def call(self, task: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        found = self.app.tasks[f"{PROGRAM}.{task}"]
        return found.apply_async(args, **{"queue": self.scene.queue, **options})

    def until_free(self, task: str, *args: Any) -> None:
        """Wait until a call with these arguments is not a duplicate, and see that it runs to its end."""
        sent: list[AsyncResult[Any]] = []

        def free() -> bool:
            sent.append(self.call(task, *args))
            return not sent[-1].was_duplicate

        self.scene.until(free, f"the key of {task}{args} is free")
        sent[-1].get(timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def settings(place: Place, request: pytest.FixtureRequest) -> dict[str, Any]:
    """RabbitMQ can't keep keys: there a Redis does it."""
    found: dict[str, Any] = {"task_unique_recheck_s": 0.1}
    if place.name == "rabbitmq":
        redis: PrivateRedis = request.getfixturevalue("e2e_redis")
        found["coordination_url"] = redis.database_url(9)
    return found


@pytest.fixture
def shop(place: Place, guard: Guard, settings: dict[str, Any]) -> Iterator[Shop]:
    """Workers of the test's own."""
    scene = Scene(place, guard, program=PROGRAM)
    shop = Shop(scene, settings)
    yield shop
    shop.app.close()
    scene.close()


@pytest.fixture(scope="module")
def open_shop(place: Place, guard: Guard, settings: dict[str, Any]) -> Iterator[WorkerProcess]:
    """A worker for every test that does it no harm."""
    fleet = Fleet(place, guard, PROGRAM)
    yield fleet.start(SHARED_QUEUE, "-c", "3", settings=settings)
    fleet.close()


@pytest.fixture
def shared(place: Place, guard: Guard, settings: dict[str, Any], open_shop: WorkerProcess) -> Iterator[Shop]:
    """A shop whose worker runs already."""
    scene = Scene(place, guard, SHARED_QUEUE, PROGRAM)
    shop = Shop(scene, settings)
    yield shop
    shop.app.close()
    scene.close()
    assert open_shop.process.poll() is None, f"the shared worker ended:\n{open_shop.log}"


def test_of_many_callers_one_sends(shop: Shop) -> None:
    scene = shop.scene
    key, others = scene.key("same"), scene.keys("other", 4)
    other_program = shop.make_app()
    task, their_task = shop.app.tasks[f"{PROGRAM}.work"], other_program.tasks[f"{PROGRAM}.work"]
    queue = scene.queue
    with ThreadPoolExecutor(12) as threads:
        calls: list[Callable[[], AsyncResult[Any]]] = [
            lambda: task.apply_async([key], queue=queue),
            lambda: task.apply_async(kwargs={"key": key, "number": 0}, queue=queue),
            lambda: their_task.s(key=key).apply_async(queue=queue),
            lambda: shop.app.send_task(f"{PROGRAM}.work", [key, 0], queue=queue),
        ]
        results = [future.result() for future in [threads.submit(calls[number % 4]) for number in range(24)]]

    async def call_all() -> list[AsyncResult[Any]]:
        return await asyncio.gather(*(task.aapply_async([key], queue=queue) for _ in range(8)))

    results += asyncio.run(call_all())
    assert sum(not result.was_duplicate for result in results) == 1
    assert len({result.id for result in results}) == 1
    for number, other in enumerate(others):
        assert not shop.call("work", other, number).was_duplicate
    assert not shop.call("work", key, 5).was_duplicate
    shop.worker()
    for result in results if scene.place.stores_results else [one for one in results if not one.was_duplicate]:
        assert result.get(timeout=DEADLINE_S) == key
    scene.until_done(others)
    scene.until_empty()
    assert scene.journal.starts(key) == 2  # with number=0, and with number=5
    other_program.close()


def test_every_end_gives_the_key_back(shop: Shop) -> None:
    scene = shop.scene
    revoked, key = scene.key("revoked"), scene.key("end")
    first = shop.call("end", revoked, "success")
    first.revoke()
    names = ["revoked", "expired"]
    if scene.place.name != "rabbitmq":  # which can't take a message out of its delay
        names.append("delayed")
        scene.app.control.revoke(shop.call("end", scene.key("delayed"), "success", countdown=3600).id)
    shop.call("end", scene.key("expired"), "success", expires=0.05)
    worker = shop.worker("-c", "2")
    for how in ("success", "failure", "ignore", "reject", "retry", "hard limit", "crash"):
        shop.call("end", f"{key} {how}", how, time_limit=0.5 if how == "hard limit" else None)
    unknown = f"{PROGRAM}.unknown"
    given: Any = {"queue": scene.queue, "unique": True}
    shop.app.send_task(unknown, ["x"], **given)
    assert shop.app.send_task(unknown, ["x"], **given).was_duplicate
    with pytest.raises(TaskRevokedError):
        first.get(timeout=DEADLINE_S)
    for name in names:
        shop.until_free("end", scene.key(name), "success")
    for how in ("success", "failure", "ignore", "reject", "retry", "hard limit", "crash"):
        shop.until_free("end", f"{key} {how}", "success")
    scene.until(
        lambda: not shop.app.send_task(unknown, ["x"], **given).was_duplicate, "the key of the unknown task is free"
    )
    assert worker.process.poll() is None


def test_a_retry_keeps_the_key(shared: Shop) -> None:
    scene = shared.scene
    key, gate = scene.key("again"), scene.gate()
    first = shared.call("tries_again", key, gate.path)
    scene.until_started(key)
    calls = [first]
    while scene.journal.starts(key) < 3:  # the second run notes its start twice
        calls.append(shared.call("tries_again", key, gate.path))
        assert (calls[-1].was_duplicate, calls[-1].id) == (True, first.id)
    gate.open()
    assert calls[-1].get(timeout=DEADLINE_S) == 1
    shared.until_free("tries_again", key, gate.path)


def test_a_task_of_a_killed_worker_keeps_its_key_until_it_has_run(shop: Shop) -> None:
    scene = shop.scene
    key, gate = scene.key("killed"), scene.gate()
    victim = shop.worker()
    first = shop.call("held", key, gate.path)
    scene.until_started(key)
    victim.kill()
    assert shop.call("held", key, gate.path).id == first.id
    shop.worker()
    scene.until_started(key, times=2)
    assert shop.call("held", key, "another gate").id == first.id
    gate.open()
    assert first.get(timeout=DEADLINE_S) == key
    shop.until_free("held", key, gate.path)


def test_what_goes_on_under_its_id_keeps_its_key_and_gives_it_back_in_the_end(shop: Shop) -> None:
    """Many at once on two workers: what follows may have ended in one before the other knows its parent to be settled."""
    scene = shop.scene
    for _ in range(2):
        shop.worker("-c", "2")
    calls = [(task, key, 3) for task in ("replaces_itself", "retries_at_once") for key in scene.keys(task, 20)]
    results = [shop.call(*call) for call in calls]
    for result in results:
        result.get(timeout=DEADLINE_S)
    for task, key, _ in calls:
        assert scene.journal.starts(key) == 4
        shop.until_free(task, key, 0)


def test_a_call_that_is_sent_twice_is_settled_twice(shop: Shop) -> None:
    scene = shop.scene
    key, task_id = scene.key("twice"), f"twice-{scene.name}"
    for _ in range(2):
        assert not shop.call("work", key, task_id=task_id).was_duplicate
    shop.worker()
    scene.until_done([key])
    scene.until_empty()
    shop.until_free("work", key)


def test_what_waits_is_replaced_and_what_runs_is_followed(shared: Shop) -> None:
    scene = shared.scene
    key, gate = scene.key("newest"), scene.gate()
    stale = [shared.call("newest", key, number, gate.path, countdown=1) for number in range(3)]
    running = shared.call("newest", key, 3, gate.path, countdown=1)
    assert not any(result.was_duplicate for result in (*stale, running))
    scene.until_started(key)
    for result in stale:
        with pytest.raises(TaskRevokedError, match="unique key"):
            result.get(timeout=DEADLINE_S)
    overtaken = shared.call("newest", key, 4, gate.path)
    last = shared.call("newest", key, 5, gate.path)
    with pytest.raises(TaskRevokedError, match="unique key"):
        overtaken.get(timeout=DEADLINE_S)
    gate.open()
    assert (running.get(timeout=DEADLINE_S), last.get(timeout=DEADLINE_S)) == (3, 5)
    assert [line.more["number"] for line in scene.journal.lines if line.event == "number"] == [3, 5]


def test_one_follower_waits_for_its_turn(shared: Shop) -> None:
    scene = shared.scene
    key, gate = scene.key("turn"), scene.gate()
    first = shared.call("in_turn", key, 1, gate.path)
    scene.until_started(key)
    second = shared.call("in_turn", key, 2, gate.path)
    third = shared.call("in_turn", key, 3, gate.path)
    assert not second.was_duplicate
    assert (third.was_duplicate, third.id) == (True, second.id)
    beside = shared.call("work", scene.key("beside"))
    assert beside.get(timeout=DEADLINE_S)  # the follower takes no slot
    assert scene.journal.starts(key) == 1
    gate.open()
    assert (first.get(timeout=DEADLINE_S), second.get(timeout=DEADLINE_S)) == (1, 2)
    scene.until_empty()
    assert scene.journal.starts(key) == 2


def test_unique_until_it_starts(shared: Shop) -> None:
    scene = shared.scene
    key, gate = scene.key("refresh"), scene.gate()
    first = shared.call("refresh", key, gate.path, countdown=1)
    assert shared.call("refresh", key, gate.path).id == first.id
    scene.until_started(key)
    second = shared.call("refresh", key, gate.path)
    assert not second.was_duplicate
    scene.until_started(key, times=2)
    gate.open()
    assert (first.get(timeout=DEADLINE_S), second.get(timeout=DEADLINE_S)) == (key, key)


def test_at_most_one_in_a_window(shared: Shop) -> None:
    scene = shared.scene
    first = shared.call("now_and_then", scene.key("Window"), 1)
    assert first.get(timeout=DEADLINE_S) == 1
    second = shared.call("now_and_then", scene.key("window"), 2)
    assert (second.was_duplicate, second.id) == (True, first.id)
    shared.until_free("now_and_then", scene.key("window"), 3)


def test_a_task_that_is_acknowledged_early_keeps_its_key_to_the_end(shared: Shop) -> None:
    scene = shared.scene
    key, gate = scene.key("early"), scene.gate()
    first = shared.call("acknowledged_early", key, gate.path)
    scene.until_started(key)
    scene.until_empty()
    assert shared.call("acknowledged_early", key, gate.path).id == first.id
    gate.open()
    assert first.get(timeout=DEADLINE_S) == key
    shared.until_free("acknowledged_early", key, gate.path)


def test_a_call_may_say_otherwise(shop: Shop) -> None:
    scene = shop.scene
    key, gate = scene.key("override"), scene.gate()
    first = shop.call("held", key, gate.path)
    with pytest.raises(DuplicateTask, match="is unique") as caught:
        shop.call("held", key, gate.path, unique=Unique(by="key", on_conflict="raise"))
    assert caught.value.existing_id == first.id
    assert not shop.call("held", key, gate.path, unique=False).was_duplicate
    assert not shop.call("held", key, gate.path, unique=Unique(by=lambda *_: None)).was_duplicate
    # The same id again, after an unknown outcome: it is the call that has the key.
    assert not shop.call("held", key, gate.path, task_id=first.id).was_duplicate


# -- without the store ------------------------------------------------------------------------------------------------


@pytest.fixture
def on_sqlite(place: Place) -> None:
    if place.name != "sqlite":
        pytest.skip("once is enough")


@pytest.mark.usefixtures("on_sqlite")
def test_a_store_that_is_away(place: Place, guard: Guard, own_redis: PrivateRedis) -> None:
    scene = Scene(place, guard, program=PROGRAM)
    shop = Shop(scene, {"coordination_url": own_redis.database_url(0), "publish_timeout_s": 2.0})
    keys, gate = scene.keys("away", 2), scene.gate()
    worker = shop.worker("-c", "2")
    running = shop.call("held", keys[0], gate.path)
    scene.until_started(keys[0])
    waiting = shop.call("held", keys[1], gate.path, countdown=0.5)
    own_redis.freeze()
    with pytest.raises(CoordinationUnavailable):
        shop.call("held", scene.key("new"), gate.path)
    scene.until_started(keys[1])  # a task waits for no store
    gate.open()
    assert (running.get(timeout=DEADLINE_S), waiting.get(timeout=DEADLINE_S)) == tuple(keys)
    own_redis.thaw()
    for key in keys:
        shop.until_free("held", key, gate.path)
    assert scene.journal.starts(scene.key("new")) == 0
    assert "run unchecked" in worker.log
    shop.app.close()
    scene.close()


@pytest.mark.rabbitmq
def test_rabbitmq_alone_keeps_no_keys(place: Place, guard: Guard) -> None:
    if place.name != "rabbitmq":
        pytest.skip("the others do")
    scene = Scene(place, guard, program=PROGRAM)
    shop = Shop(scene, {})
    with pytest.raises(ImproperlyConfigured, match=r"work', which is unique, needs .* coordination_url"):
        shop.call("work", "x")
    worker = scene.fleet.start(scene.queue, "-c", "1", ready=False)
    assert worker.wait() != 0
    assert "which is unique," in worker.log
    assert "coordination_url" in worker.log
    scene.close()
