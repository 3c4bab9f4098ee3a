"""The gate in an embedded worker, in memory: limits by a clock that the test moves, and what becomes of messages that wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client import signals
from celeriac.core.effects import Settlement
from celeriac.core.headers import LOSSES, RATE_LIMIT_KEY, SLOT
from celeriac.core.message import Delayed
from celeriac.exceptions import TaskRevokedError
from celeriac.queues import Broadcast
from celeriac.testing import TestWorker, VirtualClock
from celeriac.torture.servers.service import wait_until
from celeriac.worker.worker import EmbeddedWorker

HOUR_S = 3600.0


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def app(clock: VirtualClock) -> Iterator[Celeriac]:
    """An app whose time the test moves."""
    app = Celeriac("gate", broker="memory://", backend="memory://", set_as_current=False)
    with clock.installed(app):
        yield app


@pytest.fixture
def real_app() -> Iterator[Celeriac]:
    """An app that goes by the real time."""
    with Celeriac("gate", broker="memory://", backend="memory://", set_as_current=False) as app:
        yield app


def starts_of(app: Celeriac, clock: VirtualClock, **options: Any) -> tuple[Any, list[float]]:
    starts: list[float] = []

    @app.task(name="limited", **options)
    def limited(*_: Any) -> None:
        starts.append(clock.monotonic())

    return limited, starts


def test_a_rate_by_a_virtual_clock(app: Celeriac, clock: VirtualClock) -> None:
    limited, starts = starts_of(app, clock, rate_limit="10/m")
    with TestWorker(app):
        for _ in range(5):
            limited.delay()
        clock.advance(30.0)
    assert starts == pytest.approx([0.0, 6.0, 12.0, 18.0, 24.0], abs=0.001)


def test_a_rate_slower_than_the_horizon(app: Celeriac, clock: VirtualClock) -> None:
    limited, starts = starts_of(app, clock, rate_limit="1/h")
    with TestWorker(app):
        for _ in range(3):
            limited.delay()
        clock.advance(2 * HOUR_S + 60.0)
    assert starts == pytest.approx([0.0, HOUR_S, 2 * HOUR_S], abs=60.0)
    assert all(other - one >= HOUR_S for one, other in pairwise(starts))


def test_rates_per_key_by_a_virtual_clock(app: Celeriac, clock: VirtualClock) -> None:
    starts: list[tuple[str, float]] = []

    @app.task(rate_limit="1/m", rate_limit_key="tenant")
    def limited(tenant: str) -> None:
        starts.append((tenant, clock.monotonic()))

    with TestWorker(app):
        for tenant in "aabb":
            limited.delay(tenant)
        clock.advance(61.0)
    assert sorted(starts) == [("a", 0.0), ("a", pytest.approx(60.0)), ("b", 0.0), ("b", pytest.approx(60.0))]


def test_a_rate_set_at_run_time(app: Celeriac, clock: VirtualClock) -> None:
    limited, starts = starts_of(app, clock)
    app.control.rate_limit("limited", "1/m")
    with TestWorker(app):
        for _ in range(3):
            limited.delay()
        clock.advance(121.0)
    assert starts == pytest.approx([0.0, 60.0, 120.0])


def test_disabled_rates(app: Celeriac, clock: VirtualClock) -> None:
    app.conf.worker_disable_rate_limits = True
    limited, starts = starts_of(app, clock, rate_limit="1/h")
    with TestWorker(app):
        for _ in range(3):
            limited.delay()
        clock.run_until_idle()
    assert starts == [0.0] * 3


def test_a_default_rate_is_each_tasks_own(app: Celeriac, clock: VirtualClock) -> None:
    app.conf.task_default_rate_limit = "1/m"
    limited, starts = starts_of(app, clock)
    others: list[float] = []

    @app.task
    def other() -> None:
        others.append(clock.monotonic())

    with TestWorker(app):
        limited.delay()
        limited.delay()
        other.delay()
        clock.advance(60.1)
    assert starts == pytest.approx([0.0, 60.0])
    assert others == [0.0]


def test_what_waits_expires_at_its_time(app: Celeriac, clock: VirtualClock) -> None:
    limited, starts = starts_of(app, clock, rate_limit="1/h")
    with TestWorker(app):
        limited.delay()
        hurried = limited.apply_async(expires=30.0)
        clock.advance(29.0)
        assert hurried.state == "PENDING"
        clock.advance(2.0)
        with pytest.raises(TaskRevokedError, match="expired"):
            hurried.get(timeout=10)
        assert starts == [0.0]


def test_eta_and_limit_of_one_task(app: Celeriac, clock: VirtualClock) -> None:
    limited, starts = starts_of(app, clock, rate_limit="1/m")
    with TestWorker(app):
        limited.apply_async(countdown=100.0)
        limited.apply_async(countdown=100.0)
        clock.advance(161.0)
    assert starts == pytest.approx([100.0, 160.0])


def test_a_message_that_waits_is_otherwise_what_it_was(app: Celeriac, clock: VirtualClock) -> None:
    """Time, priority, counts of crashes and losses, headers of the caller's own: nothing of it changes."""
    seen: list[Any] = []

    @app.task(name="looks", bind=True, rate_limit="1/m", rate_limit_key="tenant")
    def looks(self: Any, tenant: str) -> None:
        seen.append(self.request)

    with TestWorker(app):
        looks.delay("a")
        message = app.message(
            "looks", ("a",), options={"priority": 7, "headers": {"mine": 1}, "countdown": 1.0, "task_id": "the-one"}
        )
        message.headers |= {"celeriac_crashes": 1, LOSSES: 3}
        producer = app.broker.producer()
        producer.publish([message], 5.0)
        clock.advance(10.0)
        admin = app.broker.admin()
        assert admin.depths(["celery"])[0].delayed == 1
        clock.advance(51.0)
    first, second = seen
    assert second.id == "the-one"
    assert (second.eta, second.delivery_info["priority"], second.retries) == (message.headers["eta"], 7, 0)
    assert second.headers["mine"] == 1
    assert not {SLOT, RATE_LIMIT_KEY} & second.headers.keys()
    assert first.headers.keys() <= second.headers.keys()


def test_a_message_is_received_once(app: Celeriac, clock: VirtualClock) -> None:
    limited, _ = starts_of(app, clock, rate_limit="1/m")
    received: list[str] = []

    def note(request: Any = None, **_: Any) -> None:
        received.append(request.id)

    signals.task_received.connect(note)
    try:
        with TestWorker(app):
            ids = [limited.delay().id for _ in range(3)]
            clock.advance(121.0)
    finally:
        signals.task_received.disconnect(note)
    assert received == ids


def test_calls_of_one_program_share_permits_whatever_worker_runs_them(real_app: Celeriac) -> None:
    running: set[int] = set()
    most: list[int] = []
    gate = threading.Event()

    @real_app.task(executor="thread", max_concurrency=3)
    def limited(number: int) -> int:
        running.add(number)
        most.append(len(running))
        gate.wait(10)
        running.discard(number)
        return number

    with EmbeddedWorker(real_app, concurrency=1, threads=8), EmbeddedWorker(real_app, concurrency=1, threads=8):
        results = [limited.delay(number) for number in range(20)]
        wait_until(lambda: len(running) == 3, "three run")
        gate.set()
        assert [result.get(timeout=20) for result in results] == list(range(20))
    assert max(most) == 3


def test_copies_of_a_broadcast_need_a_permit_each(real_app: Celeriac) -> None:
    real_app.conf.task_queues = [Broadcast("all")]
    running: set[int] = set()
    most: list[int] = []
    ran = threading.Semaphore(0)

    @real_app.task(executor="thread", queue="all", max_concurrency=1)
    def limited() -> None:
        me = threading.get_ident()
        running.add(me)
        most.append(len(running))
        time.sleep(0.2)  # so long that another one would be seen
        running.discard(me)
        ran.release()

    workers = [EmbeddedWorker(real_app, concurrency=1, threads=2, queues=("all",), hostname=name) for name in "abc"]
    with workers[0], workers[1], workers[2]:
        limited.delay()
        for _ in workers:
            assert ran.acquire(timeout=10)
    assert most == [1, 1, 1]


def test_who_only_has_to_be_concluded_takes_no_permit(real_app: Celeriac) -> None:
    gate = threading.Event()
    begun: list[int] = []

    @real_app.task(executor="thread", max_concurrency=1)
    def limited(number: int) -> int:
        begun.append(number)
        gate.wait(10)
        return number

    with EmbeddedWorker(real_app, concurrency=1, threads=4):
        first = limited.delay(1)
        wait_until(lambda: begun == [1], "the first runs")
        waits, expired = limited.delay(2), limited.apply_async((3,), expires=-1)
        with pytest.raises(TaskRevokedError, match="expired"):
            expired.get(timeout=10)  # while the only permit is held
        gate.set()
        assert (first.get(timeout=10), waits.get(timeout=10)) == (1, 2)
    assert begun == [1, 2]


def test_one_that_expires_in_the_line_leaves_it(app: Celeriac, clock: VirtualClock) -> None:
    gate = threading.Event()
    begun: list[int] = []

    @app.task(executor="thread", max_concurrency=1)
    def limited(number: int) -> int:
        begun.append(number)
        if number == 1:
            clock.wait(gate)
        return number

    with TestWorker(app, threads=3):
        limited.delay(1)
        expired = limited.apply_async((2,), expires=5.0)
        last = limited.delay(3)
        clock.advance(6.0)
        with pytest.raises(TaskRevokedError, match="expired"):
            expired.get(timeout=10)
        gate.set()
        clock.run_until_idle()
        assert last.get(timeout=10) == 3
    assert begun == [1, 3]


def test_what_waits_is_due_by_the_brokers_clock(real_app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> None:
    due: list[float] = []
    gate = threading.Event()

    @real_app.task(executor="thread", max_concurrency=1)
    def for_a_permit() -> None:
        gate.wait(10)

    @real_app.task(rate_limit="1/m")
    def for_a_start() -> None: ...

    broker: Any = real_app.broker
    make: Callable[[], Any] = broker.consumer

    def make_ahead() -> Any:
        consumer = make()
        consumer.ahead_s = 1000.0
        settle = consumer.settle

        async def note(batch: Sequence[Settlement], published: Any = None) -> Any:
            due.extend(message.not_before or 0.0 for settlement in batch for message in settlement.publish)
            return await settle(batch, published)

        consumer.settle = note
        return consumer

    monkeypatch.setattr(broker, "consumer", make_ahead)
    with EmbeddedWorker(real_app, concurrency=1, threads=4):
        for task in (for_a_permit, for_a_permit, for_a_start, for_a_start):
            task.delay()
        wait_until(lambda: len(due) == 2, "two wait")
        gate.set()
    assert all(980 < not_before - time.time() < 1100 for not_before in due)


def test_one_that_expires_soon_is_woken_for_its_permit(real_app: Celeriac) -> None:
    gate = threading.Event()
    begun: list[int] = []

    @real_app.task(executor="thread", max_concurrency=1)
    def limited(number: int) -> int:
        begun.append(number)
        gate.wait(10)
        return number

    with EmbeddedWorker(real_app, concurrency=1, threads=4):
        first = limited.delay(1)
        wait_until(lambda: begun == [1], "the first runs")
        hurried = limited.apply_async((2,), expires=12.0)  # sooner than it would ask again unless it is woken
        admin = real_app.broker.admin()
        wait_until(lambda: admin.depths(["celery"])[0].delayed == 1, "the second waits in the broker")
        gate.set()
        assert (first.get(timeout=10), hurried.get(timeout=10)) == (1, 2)


def test_a_woken_message_is_found_even_if_it_was_not_there_yet(
    real_app: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker gives its permit back after the other was told to wait, and before that has put its message into the delay."""
    begun: list[int] = []
    gate, missed = threading.Event(), threading.Event()

    @real_app.task(executor="thread", max_concurrency=1)
    def limited(number: int) -> int:
        begun.append(number)
        if number == 1:
            gate.wait(10)
        return number

    broker: Any = real_app.broker
    make: Callable[[], Any] = broker.consumer

    def make_one_that_wakes() -> Any:
        consumer = make()
        hasten = consumer.hasten

        async def note(delayed: Sequence[Delayed]) -> int:
            found: int = await hasten(delayed)
            if not found:
                missed.set()
            return found

        consumer.hasten = note
        return consumer

    def make_one_that_is_late() -> Any:
        consumer = make()
        settle = consumer.settle

        async def late(batch: Sequence[Settlement], published: Any = None) -> Any:
            if any(message.not_before for settlement in batch for message in settlement.publish):
                gate.set()
                await asyncio.to_thread(missed.wait, 10)
            return await settle(batch, published)

        consumer.settle = late
        return consumer

    monkeypatch.setattr(broker, "consumer", make_one_that_wakes)
    with EmbeddedWorker(real_app, concurrency=1, queues=("a",), hostname="a"):
        first = limited.apply_async((1,), queue="a")
        wait_until(lambda: begun == [1], "the first runs")
        monkeypatch.setattr(broker, "consumer", make_one_that_is_late)
        with EmbeddedWorker(real_app, concurrency=1, queues=("b",), hostname="b"):
            second = limited.apply_async((2,), queue="b")
            assert (first.get(timeout=10), second.get(timeout=10)) == (1, 2)
    assert missed.is_set()
