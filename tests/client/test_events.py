"""Events for programs: sent by a dispatcher or by clients, received, and put together to the state of a cluster."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import redis

from celeriac import Celeriac
from celeriac.client.lamport import LamportClock
from celeriac.client.letters import letters_of
from celeriac.events import Event, group_from
from celeriac.events.snapshot import Polaroid
from celeriac.events.state import State, Task, Worker, heartbeat_expires
from celeriac.exceptions import BrokerUnavailable, EncodeError, ImproperlyConfigured
from tests.services import PrivateRedis, wait_until


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("events", broker="memory://", set_as_current=False, task_send_sent_event=True) as app:
        yield app


class Ear:
    """A receiver in a thread of its own, and what it has heard."""

    def __init__(self, app: Celeriac, **options: Any) -> None:
        self.heard: list[dict[str, Any]] = []
        self.receiver = app.events.Receiver(app.connection(), handlers={"*": self.heard.append}, **options)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self.receiver.capture(wakeup=True)

    def __enter__(self) -> Ear:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.receiver.should_stop = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def until(self, *types: str) -> list[dict[str, Any]]:
        wait_until(lambda: set(types) <= {event["type"] for event in self.heard}, f"{types} are heard: {self.heard}")
        return [event for event in self.heard if event["type"] in types]


def send_until_heard(app: Celeriac, ear: Ear) -> None:
    """Whoever begins to listen hears what is sent from then on, and then is known by its first event."""

    def heard() -> bool:
        with app.events.default_dispatcher() as dispatcher:
            dispatcher.send("test-are-you-there")
        return any(event["type"] == "test-are-you-there" for event in ear.heard)

    wait_until(heard, "the receiver listens")


def test_a_program_sends_and_hears_events_of_its_own(app: Celeriac) -> None:
    with Ear(app) as ear:
        send_until_heard(app, ear)
        with app.events.default_dispatcher(hostname="me@x") as dispatcher:
            dispatcher.send("shop-order-placed", number=5)
            dispatcher.disable()
            dispatcher.send("shop-never")
            dispatcher.enable()
            dispatcher.send("shop-last", blind=True)
            with pytest.raises(EncodeError):
                dispatcher.send("shop-bad", number=object())
        placed, last = ear.until("shop-order-placed", "shop-last")
    assert (placed["hostname"], placed["number"], placed["clock"] > 0) == ("me@x", 5, True)
    assert {"timestamp", "utcoffset", "pid", "local_received"} <= placed.keys()
    assert last["clock"] > placed["clock"], "an event without a clock gets that of the receiver"
    assert "shop-never" not in {event["type"] for event in ear.heard}


def test_only_what_matches_is_heard(app: Celeriac) -> None:
    with Ear(app, routing_key="shop.#") as ear, Ear(app) as all_ears:
        send_until_heard(app, all_ears)
        with app.events.Dispatcher(groups=["shop", "other"]) as dispatcher:

            def heard() -> bool:
                dispatcher.send("other-thing")
                dispatcher.send("task-own")
                dispatcher.send("shop-thing")
                return bool(ear.heard)

            wait_until(heard, "the ear listens")
        all_ears.until("shop-thing", "other-thing")
    assert {event["type"] for event in ear.heard} == {"shop-thing"}
    assert "task-own" not in {event["type"] for event in all_ears.heard}, "its group is not among those to be sent"


def test_clients_tell_what_they_have_sent(app: Celeriac) -> None:
    app.task(name="quiet", send_events=False)(lambda: None)
    app.task(name="work")(lambda *args: None)
    with Ear(app) as ear:
        send_until_heard(app, ear)
        app.tasks["quiet"].delay()
        result = app.tasks["work"].apply_async((1, "two"), queue="orders")
        (sent,) = ear.until("task-sent")
    assert sent["uuid"] == result.id
    assert (sent["name"], sent["args"], sent["kwargs"], sent["retries"]) == ("work", "(1, 'two')", "{}", 0)
    assert (sent["queue"], sent["exchange"], sent["routing_key"], sent["root_id"]) == (
        "orders",
        "",
        "orders",
        result.id,
    )


def test_a_call_never_waits_for_its_event(own_redis: PrivateRedis) -> None:
    """The broker of the events is away: the call is sent all the same, the event is dropped and counted."""
    app = Celeriac("events", broker=own_redis.database_url(0), set_as_current=False, task_send_sent_event=True)
    app.task(name="work")(lambda: None)
    with app:
        app.tasks["work"].delay()
        outbox = letters_of(app).events
        wait_until(lambda: not outbox._letters and not outbox._is_flushing, "the first one is sent")
        own_redis.kill()
        with pytest.raises(BrokerUnavailable):
            app.tasks["work"].apply_async(retry=False)
        outbox.tell(Event("task-sent", uuid="1", hostname="me"))
        wait_until(lambda: outbox.dropped == 1, "it is dropped")
        with app.events.Dispatcher(buffer_while_offline=True) as dispatcher:
            dispatcher.send("shop-thing")
            own_redis.start()
            wait_until(lambda: _flushed(dispatcher), "what was kept is sent when the broker is back")


def test_a_script_that_ends_at_once_has_told_what_it_sent(redis_url: str) -> None:
    script = (
        f"from celeriac import Celeriac; app = Celeriac('script', broker={redis_url!r}, task_send_sent_event=True);"
        " app.send_task('work'); app.control.ping(limit=0)"
    )
    with Celeriac("events", broker=redis_url, set_as_current=False) as app, Ear(app) as ear:
        send_until_heard(app, ear)
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
        ear.until("task-sent")
    with redis.Redis.from_url(redis_url) as server:
        assert not server.exists("celeriac:mailboxes", "_kombu.binding.reply.celery.pidbox")


def test_the_end_of_the_app_waits_for_what_is_just_being_sent(app: Celeriac) -> None:
    outbox = letters_of(app).events

    async def take_the_turn() -> None:
        outbox._turn = asyncio.Lock()
        await outbox._turn.acquire()

    async def pass_it_on() -> None:
        assert outbox._turn is not None
        asyncio.get_running_loop().call_later(0.05, outbox._turn.release)

    background = letters_of(app).background
    with Ear(app) as ear:
        background.run(take_the_turn)
        outbox.tell(Event("task-sent", uuid="1", hostname="me"))
        wait_until(lambda: not outbox._letters, "it is taken out, to be sent")
        background.run(pass_it_on)
        outbox.close()
        assert outbox._turn is not None
        assert not outbox._turn.locked(), "it was not waited for"
        assert ear.until("task-sent")


def test_a_fork_leaves_the_letters_of_its_parent_alone(app: Celeriac) -> None:
    with app.events.default_dispatcher() as dispatcher:
        dispatcher.send("shop-thing")
    child = multiprocessing.get_context("fork").Process(target=app.close)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside a thread: the point of this test
        child.start()
    child.join(30)
    assert child.exitcode == 0
    with app.events.default_dispatcher() as dispatcher:
        dispatcher.send("shop-thing")


def _flushed(dispatcher: Any) -> bool:
    dispatcher.flush()
    return not dispatcher._kept


def test_capture_ends_after_silence_or_enough_events(app: Celeriac) -> None:
    receiver = app.events.Receiver(None, handlers={})
    with pytest.raises(TimeoutError):
        receiver.capture(timeout=0.05, wakeup=False)
    with Ear(app) as ear:
        send_until_heard(app, ear)
    limited = app.events.Receiver()
    capturing = threading.Thread(target=limited.capture, kwargs={"limit": 1, "wakeup": False})
    capturing.start()
    with app.events.default_dispatcher() as dispatcher:

        def ended() -> bool:
            dispatcher.send("test-thing")
            return not capturing.is_alive()

        wait_until(ended, "it ends by itself")


def test_capture_ends_with_the_app(app: Celeriac) -> None:
    with Ear(app) as ear:
        send_until_heard(app, ear)
        app.close()
        ear._thread.join(20)
        assert not ear._thread.is_alive()


def test_a_queue_cannot_be_exclusive_and_durable(app: Celeriac) -> None:
    with pytest.raises(ImproperlyConfigured):
        app.events.Receiver(queue_exclusive=True, queue_durable=True)


def test_a_lost_connection_is_made_anew(own_redis: PrivateRedis) -> None:
    with Celeriac("events", broker=own_redis.database_url(0), set_as_current=False) as app, Ear(app) as ear:
        send_until_heard(app, ear)
        own_redis.kill()
        own_redis.start()
        ear.heard.clear()

        def heard() -> bool:
            try:
                with app.events.default_dispatcher() as dispatcher:
                    dispatcher.send("test-again")
            except BrokerUnavailable:
                return False
            return bool(ear.heard)

        wait_until(heard, "it listens again")


# -- the state of a cluster -------------------------------------------------------------------------------------------


def event(type: str, clock: int = 0, **fields: Any) -> dict[str, Any]:
    now = time.time()
    return {"type": type, "hostname": "w@x", "clock": clock, "timestamp": now, "local_received": now, **fields}


def test_a_task_goes_its_way() -> None:
    state = State()
    state.event(event("task-sent", 1, uuid="1", hostname="client", name="add", args="(1,)", queue="q"))
    task = state.tasks["1"]
    assert (task.state, task.client, task.worker, task.origin) == ("PENDING", "client", None, "client")
    (found, is_new), subject = state.event(event("task-received", 2, uuid="1", name="add", args="(1,)", kwargs="{}"))
    assert (found is task, is_new, subject) == (True, False, "received")
    state.event(event("task-started", 3, uuid="1"))
    state.event(event("task-succeeded", 4, uuid="1", result="5", runtime=0.5))
    assert (task.state, task.result, task.runtime, task.ready) == ("SUCCESS", "5", 0.5, True)
    assert None not in (task.sent, task.received, task.started, task.succeeded)
    assert task.failed is None
    assert task.worker is state.workers["w@x"]
    assert task.info(extra=["runtime"]) == {"args": "(1,)", "kwargs": "{}", "result": "5", "runtime": 0.5}
    assert (state.event_count, state.task_count, state.task_types()) == (4, 1, ["add"])
    assert task.as_dict()["state"] == "SUCCESS"


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (("succeeded", "received", "started"), "SUCCESS"),
        (("started", "received"), "STARTED"),
        (("failed", "sent"), "FAILURE"),
        (("retried", "received", "started"), "STARTED"),
        (("started", "retried"), "RETRY"),
        (("received", "revoked"), "REVOKED"),
        (("started", "progress"), "PROGRESS"),
    ],
)
def test_events_that_come_late_change_no_later_state(types: tuple[str, ...], expected: str) -> None:
    state = State()
    for clock, kind in enumerate(types, 1):
        state.event(event(f"task-{kind}", clock, uuid="1", name="add"))
    assert state.tasks["1"].state == expected
    assert state.tasks["1"].name == "add", "what a late event tells is taken all the same"


def test_tasks_are_found_by_time_type_and_worker() -> None:
    state = State()
    for number, (name, node) in enumerate([("add", "a"), ("mul", "b"), ("add", "b"), ("add", "a")], 1):
        state.event(
            event("task-received", number, uuid=str(number), name=name, hostname=node, parent_id="1", root_id="1")
        )
    assert [uuid for uuid, _ in state.tasks_by_timestamp()] == ["4", "3", "2", "1"]
    assert [uuid for uuid, _ in state.tasks_by_time(limit=2, reverse=False)] == ["1", "2"]
    assert [uuid for uuid, _ in state.tasks_by_type("add", limit=2)] == ["4", "3"]
    assert {task.uuid for task in state.tasks_by_worker["b"]} == {"2", "3"}
    assert state.tasks["4"].parent is state.tasks["1"] is state.tasks["4"].root
    assert {task.uuid for task in state.tasks["1"].children} == {"1", "2", "3", "4"}
    assert [uuid for uuid, _ in state.itertasks(limit=1)] == ["1"]


def test_workers_come_live_and_go() -> None:
    joined: list[Worker] = []
    left: list[Worker] = []
    state = State(on_node_join=joined.append, on_node_leave=left.append)
    state.event(event("worker-online", 1, freq=2.0, sw_ident="py-celeriac", sw_ver="1", pid=5, active=0))
    (worker,) = state.alive_workers()
    assert (worker.hostname, worker.status_string, worker.sw_ident, worker.id) == (
        "w@x",
        "ONLINE",
        "py-celeriac",
        "w@x.5",
    )
    assert worker.heartbeat_expires == heartbeat_expires(worker.heartbeats[-1], 2.0) == worker.heartbeats[-1] + 4.0
    long_ago = time.time() - 5
    worker.heartbeats[:] = [long_ago]
    assert not list(state.alive_workers())
    state.event(event("worker-heartbeat", 2, active=3, custom="c"))
    state.event(event("worker-heartbeat", 3, active=4, custom="d"))
    assert (worker.alive, worker.active, worker.custom) == (True, 4, "d")  # type: ignore[attr-defined]
    state.event(event("worker-offline", 4))
    assert (joined, left, state.workers) == ([worker], [worker], {})


@pytest.mark.parametrize("told", [2**62, 2**64, 10**400])
def test_a_clock_that_can_not_be_sent_on_is_not_heeded(told: int) -> None:
    clock = LamportClock(7)
    assert clock.adjust(told) == 8
    assert clock.adjust(2**53) == 2**53 + 1


def test_only_so_much_is_kept() -> None:
    state = State(max_tasks_in_memory=3, max_workers_in_memory=2)
    for number in range(10):
        state.event(event("task-received", number, uuid=str(number), name="add", hostname=f"w{number}"))
    assert (list(state.tasks), list(state.workers), state.task_count) == (["7", "8", "9"], ["w8", "w9"], 10)
    state.event(event("task-succeeded", 11, uuid="9"))
    state.clear_tasks()
    assert list(state.tasks) == ["7", "8"]
    assert state.freeze_while(lambda: len(state.tasks), clear_after=True) == 2
    assert (state.event_count, dict(state.workers)) == (0, {})
    state.clear(ready=False)
    assert not state.tasks


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "task-received"},
        {"type": "task-received", "uuid": "1"},
        {"type": "worker-online"},
        event("task-received", uuid="1", worker="evil", state="evil", event="evil", _x=1, ready=5, freq="x"),
        event("worker-heartbeat", heartbeats="evil", alive=False, freq="x", timestamp=None),
        {"type": "other"},
    ],
)
def test_odd_events_do_no_harm(bad: dict[str, Any]) -> None:
    state = State()
    state.event(bad)
    state.event(event("task-succeeded", 1, uuid="1", name="add", freq=2.0))
    task = state.tasks["1"]
    assert (task.state, task.worker) == ("SUCCESS", state.workers["w@x"])
    assert isinstance(state.workers["w@x"].alive, bool)


def test_own_handlers_and_a_callback_hear_first() -> None:
    heard: list[Any] = []
    state = State(callback=lambda state, one: heard.append(one["type"]))
    state.handlers["shop"] = lambda subject, one: (subject, one["number"])
    assert state.event(event("shop-order-placed", number=5)) == (("order-placed", 5), "order-placed")
    assert heard == ["shop-order-placed"]
    assert group_from("shop-order-placed") == "shop"
    assert Task("1") == Task("1") != Task("2")
    assert {Worker("a"), Worker("a")} == {Worker("a")}


def test_a_camera_takes_pictures_until_it_is_cancelled() -> None:
    class Camera(Polaroid):
        clear_after = True
        pictures: ClassVar[list[int]] = []
        cleanups = 0

        def on_shutter(self, state: State) -> None:
            self.pictures.append(state.event_count)
            if len(self.pictures) == 2:
                raise RuntimeError("one picture fails, the next may not")

        def on_cleanup(self) -> None:
            Camera.cleanups += 1

    state = State()
    state.event(event("worker-online"))
    with Camera(state, freq=0.01, cleanup_freq=0.01):
        wait_until(lambda: len(Camera.pictures) > 3 and Camera.cleanups, "pictures are taken")
        state.event(event("worker-heartbeat"))
    taken = len(Camera.pictures)
    assert (Camera.pictures[0], sum(Camera.pictures)) == (1, 2), "each picture shows what is new"
    slow = Camera(state, maxrate="1/h")
    slow.capture()
    slow.capture()
    assert len(Camera.pictures) == taken + 1
