"""The worker for tests: in threads, or with forked executors, in the test's process."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac, Task
from celeriac.exceptions import ImproperlyConfigured, TimeLimitExceeded, WorkerLostError
from celeriac.testing import TestWorker, VirtualClock
from celeriac.testing.forking import TestForkSpawner

WAIT_S = 20.0


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("embedded", broker="memory://", backend="memory://", set_as_current=False) as app:
        yield app


def forking(app: Celeriac, **options: Any) -> TestWorker:
    return TestWorker(app, make_spawner=lambda hostname: TestForkSpawner(app, hostname), **options)


def test_tasks_share_what_the_test_has(app: Celeriac) -> None:
    rows = sqlite3.connect(":memory:", check_same_thread=False)
    rows.execute("create table sold (sku text)")

    @app.task
    def sell(sku: str) -> None:
        rows.execute("insert into sold values (?)", (sku,))

    with TestWorker(app) as worker:
        for sku in ("a", "b", "c"):
            sell.delay(sku)
        worker.run_until_idle()
        assert rows.execute("select count(*) from sold").fetchone() == (3,)

        @app.task  # later than the worker, as in a test function that has a worker as a fixture
        async def late() -> int:
            return threading.get_ident()

        assert late.delay().get(timeout=WAIT_S) != threading.get_ident()
    rows.close()


def test_idle_means_all_that_follows_as_well(app: Celeriac) -> None:
    seen: list[int] = []

    @app.task
    def count(left: int) -> int:
        seen.append(left)
        if left:
            count.delay(left - 1)
        return left

    @app.task(bind=True)
    def later(self: Task[..., Any]) -> None:
        raise self.retry(countdown=3600)

    with TestWorker(app, concurrency=2) as worker:
        count.apply_async((20,), link=count.si(3))
        waiting = later.delay()
        worker.run_until_idle()
        assert sorted(seen) == sorted([*range(21), *range(4)])
        assert waiting.state == "RETRY"  # an hour away by the real time: nothing to wait for


def test_what_never_ends_is_told_of(app: Celeriac) -> None:
    go = threading.Event()

    @app.task(name="stubborn")
    def stubborn() -> None:
        go.wait()

    with TestWorker(app, patience_s=0.1) as worker:
        stubborn.delay()
        with pytest.raises(AssertionError, match=r"task stubborn\["):
            worker.run_until_idle()
        go.set()
        worker._patience_s = WAIT_S
        worker.run_until_idle()


def test_a_hard_limit_in_a_thread_leaves_nothing_running_on(app: Celeriac) -> None:
    ends: list[str] = []

    class Told(Task[..., Any]):
        def on_failure(self, exc: BaseException, *_args: Any) -> None:
            ends.append(type(exc).__name__)

    @app.task(base=Told, time_limit=0.2)
    def spin() -> None:
        while True:
            time.sleep(0.001)

    with TestWorker(app):
        with pytest.raises(TimeLimitExceeded):
            spin.delay().get(timeout=WAIT_S)
    assert ends == ["TimeLimitExceeded"]


def test_a_server_can_not_be_watched(app: Celeriac, tmp_path: Path) -> None:
    with Celeriac("file", broker=f"sqlite:///{tmp_path / 'broker'}", set_as_current=False) as app:
        with TestWorker(app) as worker:
            with pytest.raises(ImproperlyConfigured, match="memory://"):
                worker.run_until_idle()


# -- forked executors -------------------------------------------------------------------------------------------------


def test_a_fork_knows_what_the_test_has_defined(app: Celeriac, caplog: pytest.LogCaptureFixture) -> None:
    secret = object()

    @app.task
    def tell(number: int) -> tuple[int, bool]:
        logger = logging.getLogger("shop.orders")
        logger.debug("order %d", number, extra={"order": number})
        try:
            raise LookupError(number)
        except LookupError:
            logger.exception("lost")
        return os.getpid(), secret is not None

    with forking(app):
        with caplog.at_level(logging.DEBUG, "shop.orders"):  # after the fork: levels are judged here
            pid, known = tell.delay(7).get(timeout=WAIT_S)
    assert (pid != os.getpid(), known) == (True, True)
    order, lost = (record for record in caplog.records if record.name == "shop.orders")
    assert (order.getMessage(), order.levelname, order.process, vars(order)["order"]) == ("order 7", "DEBUG", pid, 7)
    assert isinstance(lost.exc_info[1] if lost.exc_info else None, LookupError)
    assert "raise LookupError(number)" in caplog.text


def test_records_that_are_not_asked_for_stay_out(app: Celeriac, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    def tell() -> None:
        logging.getLogger("shop.orders").info("not asked for")
        logging.getLogger("shop.orders").warning("big: %s", "x" * 200_000, extra={"what": threading.Lock()})

    with caplog.at_level(logging.WARNING, logger="shop.orders"), forking(app):
        tell.delay().get(timeout=WAIT_S)
    (record,) = (record for record in caplog.records if record.name == "shop.orders")
    assert len(record.getMessage()) == 200_005
    assert "lock object" in vars(record)["what"]


def test_a_fork_may_crash_be_killed_and_send_tasks(app: Celeriac) -> None:
    app.conf.task_crash_limit = 1

    @app.task
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @app.task(time_limit=0.2)
    def hang() -> None:
        time.sleep(60)

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task
    def outer(text: str) -> str:
        return add.apply_async((1, 2), headers={"text": text}).id

    with forking(app) as worker:
        with pytest.raises(WorkerLostError):
            die.delay().get(timeout=WAIT_S)
        with pytest.raises(TimeLimitExceeded):
            hang.delay().get(timeout=WAIT_S)
        inner = outer.delay("x" * 100_000).get(timeout=WAIT_S)
        worker.run_until_idle()
        assert app.AsyncResult(inner).get(timeout=WAIT_S) == 3


def test_a_fork_learns_of_new_tasks_when_it_is_told_to(app: Celeriac) -> None:
    with forking(app) as worker:

        @app.task
        def late() -> str:
            return "known"

        worker.reload()
        assert late.delay().get(timeout=WAIT_S) == "known"


def test_forks_and_threads_beside_each_other(app: Celeriac) -> None:
    """A fork holds no copy of the sockets by which the other worker tells its executors to end."""

    @app.task
    def whoami() -> int:
        return os.getpid()

    with TestWorker(app, queues=["threads"]) as threads:
        with forking(app, queues=["forks"]):
            pids = [whoami.apply_async(queue=queue).get(timeout=WAIT_S) for queue in ("threads", "forks")]
            assert (pids[0] == os.getpid(), pids[1] != os.getpid()) == (True, True)
            threads.stop()
            assert threads.left_behind() == []


def test_a_virtual_clock_needs_threads(app: Celeriac) -> None:
    with VirtualClock().installed(app):
        with pytest.raises(ImproperlyConfigured, match="own process"):
            forking(app)
