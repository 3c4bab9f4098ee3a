"""A clock that the test moves: what is due runs at its time, nothing before, and nobody sleeps."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac import Celeriac, Task
from celeriac.exceptions import (
    ImproperlyConfigured,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
)
from celeriac.testing import TestWorker, VirtualClock

DAY_S = 86_400.0


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(datetime(2030, 1, 1, tzinfo=UTC))


@pytest.fixture
def app(clock: VirtualClock) -> Iterator[Celeriac]:
    app = Celeriac("virtual", broker="memory://", backend="memory://", set_as_current=False)
    with clock.installed(app):
        yield app


@pytest.fixture
def worker(app: Celeriac) -> Iterator[TestWorker]:
    with TestWorker(app) as worker:
        yield worker


def test_a_back_off_takes_its_time_and_no_more(app: Celeriac, clock: VirtualClock, worker: TestWorker) -> None:
    runs: list[float] = []

    @app.task(bind=True, autoretry_for=(OSError,), max_retries=3, retry_backoff=10, retry_jitter=False)
    def flaky(self: Task[..., Any]) -> str:
        runs.append(clock.monotonic())
        if self.request.retries < 3:
            raise OSError("not yet")
        return "done"

    result = flaky.delay()
    worker.run_until_idle()
    assert (runs, result.state) == ([0.0], "RETRY")
    clock.advance(9.999)
    assert runs == [0.0]
    clock.advance(0.001)
    assert runs == [0.0, 10.0]
    clock.advance(3600)
    assert (runs, result.state, result.get()) == ([0.0, 10.0, 30.0, 70.0], "SUCCESS", "done")
    assert clock.monotonic() == 3610.0


def test_a_retry_at_a_time_of_its_own(app: Celeriac, clock: VirtualClock, worker: TestWorker) -> None:
    runs: list[datetime] = []

    @app.task(bind=True)
    def later(self: Task[..., Any]) -> None:
        runs.append(clock.now())
        if not self.request.retries:
            raise self.retry(countdown=90)

    later.delay()
    assert clock.advance_to_next() == 90.0
    assert runs == [datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, 0, 1, 30, tzinfo=UTC)]


def test_eta_and_expiry(app: Celeriac, clock: VirtualClock, worker: TestWorker) -> None:
    runs: list[tuple[str, datetime]] = []

    @app.task
    def note(what: str) -> None:
        runs.append((what, clock.now()))

    note.apply_async(("eta",), eta=datetime(2030, 1, 1, 6, tzinfo=UTC))
    note.apply_async(("countdown",), countdown=DAY_S / 2)
    expired = note.apply_async(("too late",), countdown=7200, expires=3600)
    in_time = note.apply_async(("in time",), countdown=3600, expires=7200)
    clock.advance_to(datetime(2030, 1, 1, 5, tzinfo=UTC))
    assert runs == [("in time", datetime(2030, 1, 1, 1, tzinfo=UTC))]
    assert (in_time.state, expired.state) == ("SUCCESS", "REVOKED")
    with pytest.raises(TaskRevokedError, match="expired"):
        expired.get()
    clock.advance(timedelta(hours=20))
    assert [(what, moment.hour) for what, moment in runs[1:]] == [("eta", 6), ("countdown", 12)]


def test_results_expire(app: Celeriac, clock: VirtualClock, worker: TestWorker) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    result = add.delay(1, 2)
    clock.advance(DAY_S - 1)
    assert app.AsyncResult(result.id).get(timeout=5) == 3
    clock.advance(2)
    assert app.AsyncResult(result.id).state == "PENDING"


def test_limits_of_a_task_in_a_thread(app: Celeriac, clock: VirtualClock, worker: TestWorker) -> None:
    seen: list[tuple[str, float]] = []

    @app.task(soft_time_limit=5, time_limit=10)
    def slow(again: bool) -> str:
        try:
            clock.sleep(100)
        except SoftTimeLimitExceeded:
            seen.append(("soft", clock.monotonic()))
            if again:
                clock.sleep(100)
            return "tidied up"
        finally:
            seen.append(("end", clock.monotonic()))
        return "never"

    tidy = slow.delay(again=False)
    clock.advance(4.9)
    assert (seen, tidy.state) == ([], "PENDING")
    clock.advance(0.1)
    assert (seen, tidy.get(timeout=5)) == ([("soft", 5.0), ("end", 5.0)], "tidied up")

    seen.clear()
    stubborn = slow.delay(again=True)
    clock.advance(9.9)
    assert stubborn.state == "PENDING"
    clock.advance(0.2)
    with pytest.raises(TimeLimitExceeded):
        stubborn.get(timeout=5)
    after = slow.delay(again=False)
    clock.advance(5)
    assert after.get(timeout=5) == "tidied up"  # a new executor is there


def test_limits_and_sleeps_of_a_coroutine(app: Celeriac, clock: VirtualClock, worker: TestWorker) -> None:
    @app.task
    async def sleep(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return clock.monotonic()

    @app.task(soft_time_limit=5, time_limit=10)
    async def slow() -> str:
        try:
            await asyncio.sleep(100)
        except SoftTimeLimitExceeded:
            return f"soft after {clock.monotonic():g}"
        return "never"

    @app.task(time_limit=10)
    async def stubborn() -> None:
        await asyncio.sleep(100)

    results = [sleep.delay(seconds) for seconds in (30, 10, 20)]
    soft = slow.delay()
    clock.advance(60)
    assert [result.get(timeout=5) for result in results] == [30.0, 10.0, 20.0]
    assert soft.get(timeout=5) == "soft after 5"
    hard = stubborn.delay()
    clock.advance(11)
    with pytest.raises(TimeLimitExceeded):
        hard.get(timeout=5)


def test_a_task_that_waits_for_the_test(app: Celeriac, clock: VirtualClock, worker: TestWorker) -> None:
    go = threading.Event()

    @app.task(time_limit=50)
    def wait(timeout: float | None) -> bool:
        return clock.wait(go, timeout)

    short = wait.delay(10)
    clock.advance(10)
    assert short.get(timeout=5) is False
    killed = wait.delay(None)
    clock.advance(51)
    assert killed.failed()
    held = wait.delay(None)
    clock.advance(20)
    assert held.state == "PENDING"
    go.set()
    worker.run_until_idle()
    assert held.get(timeout=5) is True


def test_running_tasks_are_revoked(app: Celeriac, clock: VirtualClock, worker: TestWorker) -> None:
    @app.task
    def slow() -> None:
        clock.sleep(100)

    running, waiting = slow.delay(), slow.apply_async(countdown=50)
    worker.run_until_idle()
    waiting.revoke()
    running.revoke(terminate=True)
    clock.advance(60)
    assert (running.state, waiting.state) == ("REVOKED", "REVOKED")


def test_rates_and_limits_of_the_cluster(app: Celeriac, clock: VirtualClock, worker: TestWorker) -> None:
    runs: list[float] = []

    @app.task(rate_limit="6/m")
    def limited() -> None:
        runs.append(clock.monotonic())

    @app.task(max_concurrency=1)
    def alone() -> None:
        clock.sleep(60)
        runs.append(clock.monotonic())

    for _ in range(3):
        limited.delay()
    clock.advance(60)
    assert runs == [0.0, 10.0, 20.0]
    runs.clear()
    for _ in range(3):
        alone.delay()
    clock.advance(600)
    assert len(runs) == 3
    assert all(second - first >= 60 for first, second in itertools.pairwise(runs))


def test_two_workers_share_a_clock(app: Celeriac, clock: VirtualClock) -> None:
    @app.task
    def sleep(seconds: float) -> float:
        clock.sleep(seconds)
        return clock.monotonic()

    with TestWorker(app, hostname="one"), TestWorker(app, hostname="two"):
        results = [sleep.delay(10) for _ in range(3)]
        clock.advance(3600)  # longer than any lease
        assert {result.get(timeout=5) for result in results} <= {10.0, 20.0, 30.0}  # one may have claimed them all


def test_many_retries_never_flake(app: Celeriac, clock: VirtualClock, worker: TestWorker) -> None:
    @app.task(bind=True, max_retries=None, default_retry_delay=60)
    def count(self: Task[..., Any], upto: int) -> int:
        if self.request.retries < upto:
            raise self.retry()
        return self.request.retries

    results = [count.delay(number) for number in range(10)]
    for minute in range(10):
        worker.run_until_idle()
        assert [result.state for result in results] == ["SUCCESS"] * (minute + 1) + ["RETRY"] * (9 - minute)
        clock.advance(60)


def test_a_task_that_never_ends_is_told_of(app: Celeriac) -> None:
    clock = VirtualClock(patience_s=0.2)
    app.close()
    stop = threading.Event()
    with clock.installed(other := Celeriac("other", broker="memory://", backend="memory://", set_as_current=False)):

        @other.task(name="stubborn")
        def stubborn() -> None:
            stop.wait()

        with TestWorker(other) as worker:
            stubborn.delay()
            with pytest.raises(AssertionError, match=r"task stubborn\[.* runs\n(.*\n)*.*stop.wait") as error:
                clock.advance(1)
            assert "clock.wait(event)" in str(error.value)
            stop.set()
            worker.run_until_idle()


def test_moving_the_clock_from_a_task_is_an_error(app: Celeriac, clock: VirtualClock, worker: TestWorker) -> None:
    @app.task
    def move() -> None:
        clock.advance(1)

    result = move.delay()
    worker.run_until_idle()
    with pytest.raises(RuntimeError, match=r"can't move the clock that it runs by"):
        result.get(timeout=5)


def test_outside_of_a_worker_a_sleep_moves_the_clock(app: Celeriac, clock: VirtualClock) -> None:
    @app.task
    def sleep() -> float:
        clock.sleep(5)
        return clock.monotonic()

    assert sleep.apply().get() == 5.0
    clock.sleep(1)
    assert clock.wait(threading.Event(), 1) is False
    assert clock.monotonic() == 7.0
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="back"):
        clock.advance_to(datetime(2029, 1, 1, tzinfo=UTC))
    assert clock.advance_to_next() is None


def test_a_server_goes_by_its_own_clock(clock: VirtualClock) -> None:
    app = Celeriac("served", broker="redis://localhost:1/0", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="memory://"):
        clock.install(app)


def test_an_app_gets_the_system_s_time_back(clock: VirtualClock) -> None:
    app = Celeriac("plain", broker="memory://", backend="memory://", set_as_current=False)
    with clock:
        clock.install(app)
        assert app.time_source.time() == datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    assert app.time_source is not clock
