"""Celery's testing modules under our name: apps, workers, managers and mocks."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac, current_app, shared_task
from celeriac.client.current import find_current_app
from celeriac.contrib.testing import mocks
from celeriac.contrib.testing.app import DEFAULT_TEST_CONFIG, TestApp, UnitLogging, set_trap, setup_default_app
from celeriac.contrib.testing.manager import Manager, Sentinel
from celeriac.contrib.testing.tasks import ping
from celeriac.contrib.testing.worker import (
    TestWorkController,
    start_worker,
    test_worker_started,
    test_worker_starting,
    test_worker_stopped,
)
from celeriac.exceptions import CeleriacError, TimeoutError

WAIT_S = 20.0


@pytest.fixture
def app() -> Iterator[TestApp]:
    app = TestApp("modules")
    with setup_default_app(app):
        yield app


# -- app --------------------------------------------------------------------------------------------------------------


def test_an_app_for_tests_keeps_everything_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERIAC_BROKER_URL", "redis://production:6379/0")
    app = TestApp(config={"task_default_queue": "tests"}, log=UnitLogging)
    assert app.locations == ("memory://", "cache+memory://")
    assert (app.conf.task_default_queue, app.main) == ("tests", "celeriac.tests")
    assert {name: app.conf[name] for name in ("timezone", "enable_utc")} == {"timezone": "UTC", "enable_utc": True}
    other = TestApp("named", broker="redis://localhost:1/0", backend="disabled://")
    assert (other.main, other.locations) == ("named", ("redis://localhost:1/0", "disabled://"))
    assert DEFAULT_TEST_CONFIG["broker_url"] == "memory://"


def test_the_current_app_is_put_back() -> None:
    before = find_current_app()
    app = TestApp()
    assert find_current_app() is before
    with setup_default_app(app):
        app.set_current()
        app.set_default()
        assert current_app.main == "celeriac.tests"

        @shared_task(name="tests.shared")
        def shared() -> None: ...

        assert "tests.shared" in TestApp().tasks
    assert find_current_app() is before
    assert "tests.shared" not in TestApp().tasks


def test_a_trap_for_the_current_app() -> None:
    app = TestApp()
    with setup_default_app(app, use_trap=True):
        with pytest.raises(RuntimeError, match="'tasks'"):
            len(current_app.tasks)
        assert app.tasks is not None
    with set_trap(app), pytest.raises(RuntimeError, match="depends on the current app"):
        current_app.conf.update(timezone="UTC")


# -- worker -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["solo", "threads", "prefork"])
def test_a_worker_in_the_test(app: TestApp, pool: str) -> None:
    told: list[str] = []
    test_worker_starting.connect(starting := lambda **_: told.append("starting"))
    test_worker_started.connect(started := lambda worker, **_: told.append(type(worker).__name__))
    test_worker_stopped.connect(stopped := lambda worker, **_: told.append(worker.hostname))

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    with start_worker(app, pool=pool, concurrency=2, hostname="tests@here", without_heartbeat=False) as worker:
        worker.ensure_started()
        assert isinstance(worker, TestWorkController)
        assert current_app.main == "modules"
        assert add.delay(2, 2).get(timeout=WAIT_S) == 4
        assert ping.delay().get(timeout=WAIT_S) == "pong"
        worker.reload()
    assert told == ["starting", "TestWorkController", "tests@here"]
    del starting, started, stopped  # which signals hold weakly


def test_other_queues(app: TestApp) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    with start_worker(app, queues="one, two") as worker:
        assert worker.queues == ("one", "two")
        assert add.apply_async((1, 2), queue="two").get(timeout=WAIT_S) == 3


def test_what_start_worker_does_not_take(app: TestApp) -> None:
    with pytest.raises(ValueError, match=r"did you mean 'prefork'"):
        with start_worker(app, pool="prefrk"):
            pass
    with pytest.raises(TypeError, match=r"did you mean 'queues'"):
        with start_worker(app, queue="x"):
            pass


def test_a_task_that_does_not_end_at_the_end_of_the_test(app: TestApp) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task
    def hang() -> None:
        begun.set()
        while not go.wait(0.01):
            pass

    with start_worker(app, perform_ping_check=False, shutdown_timeout=0.1):
        hang.delay()
        begun.wait(WAIT_S)
    assert not go.is_set()  # it was ended between two instructions


def test_levels_and_files_of_the_log(tmp_path: Path) -> None:
    app = TestApp(enable_logging=True)
    logger, above = logging.getLogger("celeriac.task"), logging.getLogger("celeriac")
    before = above.level  # an earlier test may have set it in this process
    with setup_default_app(app), start_worker(app, loglevel="INFO", logfile=str(tmp_path / "log")):
        assert logger.isEnabledFor(logging.INFO)
        logger.info("to be found in the file")
    assert "to be found in the file" in (tmp_path / "log").read_text()
    assert above.level == before


# -- manager ----------------------------------------------------------------------------------------------------------


def test_a_manager_sees_where_tasks_are(app: TestApp) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task
    def hold(number: int) -> int:
        begun.set()
        assert go.wait(WAIT_S)
        return number

    out = io.StringIO()
    manager = Manager(app, stdout=out)
    with pytest.raises(CeleriacError, match="start_worker"):
        manager.wait_until_idle()
    with start_worker(app, perform_ping_check=False):
        first, second = hold.delay(1), hold.delay(2)
        assert begun.wait(WAIT_S)
        manager.assert_accepted([first.id], interval_start=0.01)
        manager.assert_received([first.id, second.id], interval_start=0.01)
        assert not manager.is_accepted([second.id])
        assert manager.missing_results([first, second]) == [first.id, second.id]
        assert manager.query_task_states([first.id])["active"] == {first.id}
        with pytest.raises(AssertionError, match="missing"):
            manager.join([first], timeout=0.01, max_retries=2)
        assert out.getvalue().count("still waiting for 1 of 1") == 2
        go.set()
        assert manager.join([first, second], timeout=WAIT_S) == [1, 2]
        assert manager.join(first, timeout=WAIT_S) == 1
        manager.assert_result_tasks_in_progress_or_completed([first, second])
        assert manager.is_received([first.id, second.id])
        hold.delay(3)
        manager.wait_until_idle()
    with pytest.raises(TimeoutError):
        hold.delay(4).get(timeout=0.01)


def test_waiting_for_anything(app: TestApp) -> None:
    err = io.StringIO()
    manager = Manager(app, stderr=err)
    tries: list[int] = []

    def third_time_lucky(word: str, mark: str = "?") -> str:
        tries.append(1)
        if len(tries) < 3:
            raise LookupError
        return word + mark

    quick: dict[str, Any] = {"interval_start": 0.001, "interval_step": 0.0}
    assert (
        manager.wait_for(third_time_lucky, LookupError, "luck", ("yes",), {"mark": "!"}, emit_warning=True, **quick)
        == "yes!"
    )
    assert err.getvalue().count("still waiting for luck") == 2
    with pytest.raises(Sentinel):
        manager.wait_for(lambda: manager.true_or_raise(lambda: False), (Sentinel,), max_retries=1, **quick)
    manager.ensure_not_for_a_while(lambda: manager.true_or_raise(lambda: False), (Sentinel,), max_retries=2, **quick)
    with pytest.raises(AssertionError, match="this should not have happened: rain"):
        manager.ensure_not_for_a_while(lambda: True, Sentinel, "rain", **quick)


# -- mocks ------------------------------------------------------------------------------------------------------------


def test_mock_messages(app: TestApp) -> None:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    message = mocks.TaskMessage("add", "id1", (1, 2), {"z": 3}, callbacks=[add.s(1)], eta="soon")
    assert (message.headers["id"], message.headers["task"], message.headers["eta"]) == ("id1", "add", "soon")
    assert message.payload[:2] == ([1, 2], {"z": 3})
    assert b'"callbacks"' in message.body
    assert mocks.TaskMessage1("add", args=(1,)).payload["args"] == [1]
    signature = add.s(2, 2).set(countdown=10, task_id="mine", link=add.s(3), queue="q")
    sent = mocks.task_message_from_sig(app, signature)
    assert (sent.headers["id"], sent.headers["queue"], sent.payload[0]) == ("mine", "q", [2, 2])
    assert sent.headers["eta"].endswith("+00:00")
    assert [callback["args"] for callback in sent.payload[2]["callbacks"]] == [[3]]


def test_a_mock_for_a_with_statement() -> None:
    mock = mocks.ContextMock(name="connection")
    with mock as entered:
        entered.send("x")
    assert entered is mock
    mock.send.assert_called_once_with("x")
    mock.__enter__.assert_called_once_with()
    with pytest.raises(LookupError), mock:
        raise LookupError


def test_a_plain_app_will_do(app: TestApp) -> None:
    plain = Celeriac("plain", broker="memory://", backend="memory://", set_as_current=False)
    with plain, start_worker(plain) as worker:
        worker.run_until_idle()
