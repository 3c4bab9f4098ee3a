"""Ends that leave no process behind, and handlers that make an end of the next one too: nothing hangs, nothing runs for ever."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac, Task, signals
from celeriac.exceptions import TaskRevokedError, TimeLimitExceeded, WorkerLostError
from celeriac.testing.forking import TestForkSpawner
from celeriac.testing.worker import TestWorker
from celeriac.torture.servers.service import wait_until

TIMEOUT_S = 30.0
for_ever = threading.Event()


@pytest.fixture
def app() -> Iterator[Celeriac]:
    settings: dict[str, Any] = {"task_cancel_grace_s": 0.5}
    with Celeriac("hard", broker="memory://", backend="memory://", set_as_current=False, **settings) as app:
        yield app


def worker(app: Celeriac, **options: Any) -> TestWorker:
    return TestWorker(app, make_spawner=lambda hostname: TestForkSpawner(app, hostname), **options)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    for_ever.wait()


class Deadly(Task[Any, Any]):
    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        die()


class Hanging(Task[Any, Any]):
    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        hang()


@pytest.mark.parametrize("base", [Deadly, Hanging])
def test_a_handler_that_ends_its_process_or_never_ends(app: Celeriac, base: type[Task[Any, Any]]) -> None:
    @app.task(base=base, time_limit=0.5, soft_time_limit=None)
    def slow() -> None:
        hang()

    with worker(app) as running:
        with pytest.raises(TimeLimitExceeded):
            slow.delay().get(timeout=TIMEOUT_S)
        running.run_until_idle()


@pytest.mark.parametrize("base", [Deadly, Hanging])
def test_so_after_a_crash(app: Celeriac, base: type[Task[Any, Any]]) -> None:
    @app.task(base=base, time_limit=0.5, soft_time_limit=None, reject_on_worker_lost=False)
    def dies() -> None:
        die()

    with worker(app) as running:
        with pytest.raises(WorkerLostError):
            dies.delay().get(timeout=TIMEOUT_S)
        running.run_until_idle()


def test_a_listener_that_ends_its_process(app: Celeriac) -> None:
    @app.task
    def never() -> None: ...

    def listener(**_named: Any) -> None:
        die()

    signals.task_revoked.connect(listener)
    try:
        result = never.delay()
        app.control.revoke(result.id)
        with worker(app) as running:
            with pytest.raises(TaskRevokedError):
                result.get(timeout=TIMEOUT_S)
            running.run_until_idle()
    finally:
        signals.task_revoked.disconnect(listener)


def test_an_errback_of_the_calling_kind_that_never_ends(app: Celeriac) -> None:
    @app.task
    def errback(request: Any, exc: BaseException, traceback: str) -> None:
        hang()

    @app.task(time_limit=0.5, soft_time_limit=None)
    def fails() -> None:
        raise ValueError

    with worker(app) as running:
        with pytest.raises(TimeLimitExceeded):
            fails.apply_async(link_error=errback.s()).get(timeout=TIMEOUT_S)
        running.run_until_idle()


def test_a_task_acknowledged_early_runs_once_beside_one_whose_process_is_killed(app: Celeriac, tmp_path: Path) -> None:
    runs = tmp_path / "runs"

    @app.task(executor="thread", acks_late=False, time_limit=None, soft_time_limit=None)
    def early() -> None:
        with runs.open("a") as file:
            file.write("run\n")
        hang()

    @app.task(executor="thread", time_limit=0.5, soft_time_limit=None)
    def limited() -> None:
        hang()

    with worker(app, threads=2) as running:
        first = early.delay()
        wait_until(runs.exists, "it runs")
        with pytest.raises(TimeLimitExceeded):
            limited.delay().get(timeout=TIMEOUT_S)
        with pytest.raises(WorkerLostError, match="because of another"):
            first.get(timeout=TIMEOUT_S)
        running.run_until_idle()
    assert runs.read_text() == "run\n"


def test_a_crash_that_is_a_retry_is_told_as_one(app: Celeriac, tmp_path: Path) -> None:
    told = tmp_path / "told"

    class Told(Task[Any, Any]):
        def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            with told.open("a") as file:
                file.write(f"on_retry {self.request.id == task_id}\n")

        def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            with told.open("a") as file:
                file.write(f"on_failure {self.request.id == task_id}\n")

    @app.task(base=Told, retry_on_worker_lost=True, max_retries=1, default_retry_delay=0)
    def dies() -> None:
        die()

    with worker(app) as running:
        with pytest.raises(WorkerLostError):
            dies.delay().get(timeout=TIMEOUT_S)
        running.run_until_idle()
    assert told.read_text() == "on_retry True\non_failure True\n"


def test_a_lost_lease_is_no_matter_to_what_was_acknowledged_early(app: Celeriac, tmp_path: Path) -> None:
    runs = tmp_path / "runs"

    def note(what: str) -> None:
        with runs.open("a") as file:
            file.write(f"{what}\n")

    @app.task(acks_late=False)
    def early() -> None:
        note("early")
        hang()

    @app.task(executor="thread")
    def late() -> None:
        note("late")
        hang()

    with worker(app, threads=1) as running:
        first = early.delay()
        late.delay()
        wait_until(lambda: runs.exists() and len(runs.read_text().splitlines()) == 2, "both run")
        core, loop = running._worker.core, running._core_loop
        assert core is not None
        assert loop is not None
        loop.call_soon_threadsafe(core._lease_lost)
        with pytest.raises(WorkerLostError):
            first.get(timeout=TIMEOUT_S)
        assert sorted(runs.read_text().splitlines()) == ["early", "late"]
