"""Handlers, listeners and ends where something goes wrong: a worker in the test's own process."""

from __future__ import annotations

import gc
import logging
import pickle
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac, Task, current_app, shared_task, signals
from celeriac.client.current import kept, set_current_app, set_default_app
from celeriac.client.dispatching import Signal
from celeriac.exceptions import EncodeError, Ignore, InvalidTaskError, Reject
from celeriac.testing.worker import TestWorker

TIMEOUT_S = 30.0
heard: list[str] = []


class Watched(Task[Any, Any]):
    """Notes which handlers were called."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        heard.append("on_success")

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        heard.append(f"on_failure {type(exc).__name__}")

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        heard.append("on_retry")

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        heard.append(f"after {status}")


@pytest.fixture
def app() -> Iterator[Celeriac]:
    heard.clear()
    settings: dict[str, Any] = {"task_default_retry_delay": 0, "task_retry_backoff": 0}
    with Celeriac("hard", broker="memory://", backend="memory://", **settings) as app:
        yield app


@pytest.fixture
def worker(app: Celeriac) -> Iterator[TestWorker]:
    with TestWorker(app) as worker:
        yield worker


def listen(signal: Signal, event: str) -> Any:
    """Note each time that a signal is sent; keep what this returns."""

    def receiver(**named: Any) -> None:
        heard.append(f"{event} {named['state']}" if "state" in named else event)

    signal.connect(receiver)
    return receiver


def run(worker: TestWorker, result: Any) -> list[str]:
    worker.run_until_idle()
    return heard


# -- who is told what -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eager", [False, True])
def test_the_last_automatic_retry_ends_in_a_failure_for_everyone(
    app: Celeriac, worker: TestWorker, eager: bool
) -> None:
    failure = listen(signals.task_failure, "task_failure")

    @app.task(base=Watched, autoretry_for=(OSError,), max_retries=1)
    def flaky() -> None:
        raise OSError

    result = flaky.apply() if eager else flaky.delay()
    with pytest.raises(OSError):
        result.get(timeout=TIMEOUT_S)
    assert heard == ["on_retry", "after RETRY", "on_failure OSError", "task_failure", "after FAILURE"]
    del failure


@pytest.mark.parametrize("eager", [False, True])
def test_a_result_that_cannot_be_written_is_a_failure_for_everyone(
    app: Celeriac, worker: TestWorker, eager: bool
) -> None:
    receivers = [listen(signals.task_failure, "task_failure"), listen(signals.task_postrun, "postrun")]

    @app.task(base=Watched)
    def unwritable() -> object:
        return object()

    result = unwritable.apply() if eager else unwritable.delay()
    with pytest.raises(EncodeError):
        result.get(timeout=TIMEOUT_S)
    assert heard == ["on_failure EncodeError", "task_failure", "after FAILURE", "postrun FAILURE"]
    del receivers


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_handler_that_raises_keeps_nobody_else_from_hearing(
    app: Celeriac, worker: TestWorker, error: type[BaseException]
) -> None:
    receivers = [listen(signals.task_success, "task_success"), listen(signals.task_postrun, "postrun")]

    class Raising(Watched):
        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            raise error

    @app.task(base=Raising)
    def fine() -> int:
        return 1

    assert fine.delay().get(timeout=TIMEOUT_S) == 1
    assert heard == ["task_success", "after SUCCESS", "postrun SUCCESS"]
    with pytest.raises(error):
        fine.apply()
    del receivers


def test_an_error_that_cannot_be_shown_is_a_failure_too(app: Celeriac, worker: TestWorker) -> None:
    class Unshowable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

        __repr__ = __str__

    @app.task(base=Watched)
    def defective() -> None:
        raise Unshowable

    result = defective.delay()
    with pytest.raises(Exception, match="Unshowable"):
        result.get(timeout=TIMEOUT_S)
    assert result.failed()


def test_an_errback_of_the_calling_kind_may_raise_anything(app: Celeriac, worker: TestWorker) -> None:
    @app.task
    def errback(request: Any, exc: BaseException, traceback: str) -> None:
        heard.append(f"errback {exc!r} {request.id}")
        raise SystemExit

    @app.task
    def fails() -> None:
        raise KeyError(1)

    result = fails.apply_async(link_error=errback.s())
    with pytest.raises(KeyError):
        result.get(timeout=TIMEOUT_S)
    assert heard == [f"errback KeyError(1) {result.id}"]


def test_an_errback_of_the_calling_kind_may_be_a_coroutine(app: Celeriac, worker: TestWorker) -> None:
    @app.task
    async def errback(request: Any, exc: BaseException, traceback: str) -> None:
        heard.append(f"errback {exc!r}")

    @app.task
    def fails() -> None:
        raise KeyError(1)

    @app.task
    async def fails_in_a_loop() -> None:
        raise KeyError(2)

    for task in (fails, fails_in_a_loop):
        with pytest.raises(KeyError):
            task.apply_async(link_error=errback.s()).get(timeout=TIMEOUT_S)
    assert heard == ["errback KeyError(1)", "errback KeyError(2)"]


def test_handlers_and_listeners_are_no_coroutines(app: Celeriac) -> None:
    class Waiting(Task[Any, Any]):
        async def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:  # type: ignore[override]
            pass

    with pytest.raises(InvalidTaskError, match="on_success"):

        @app.task(base=Waiting)
        def task() -> None: ...

    with pytest.raises(TypeError, match="async"):

        @signals.task_success.connect
        async def receiver(**_named: Any) -> None: ...


# -- acknowledged early -----------------------------------------------------------------------------------------------


def test_a_task_acknowledged_early_may_be_given_back(app: Celeriac, worker: TestWorker) -> None:
    @app.task(acks_late=False)
    def once() -> str:
        heard.append("run")
        if len(heard) == 1:
            raise Reject(requeue=True)
        return "second"

    assert once.delay().get(timeout=TIMEOUT_S) == "second"


def test_a_task_acknowledged_early_may_be_replaced(app: Celeriac, worker: TestWorker) -> None:
    @app.task(acks_late=False)
    def other() -> str:
        return "other"

    @app.task(acks_late=False, bind=True)
    def replaced(self: Any) -> Any:
        return self.replace(other.s())

    assert replaced.delay().get(timeout=TIMEOUT_S) == "other"


def test_a_follow_up_that_cannot_be_sent_ends_no_worker(app: Celeriac, worker: TestWorker) -> None:
    @app.task
    def other() -> str:
        return "other"

    @app.task(acks_late=False)
    def early() -> int:
        return 1

    result = early.apply_async(link=other.signature((), {}, exchange="nowhere", routing_key="lost"))
    assert result.get(timeout=TIMEOUT_S) == 1
    worker.run_until_idle()
    assert other.delay().get(timeout=TIMEOUT_S) == "other"


# -- replacing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eager", [False, True])
def test_a_replaced_task_s_callbacks_are_called_once(app: Celeriac, worker: TestWorker, eager: bool) -> None:
    @app.task
    def callback(value: int) -> None:
        heard.append(f"callback {value}")

    @app.task
    def other(x: int) -> int:
        return x + 1

    @app.task(bind=True)
    def replaced(self: Any, x: int) -> Any:
        return self.replace(other.s(x))

    call = replaced.apply if eager else replaced.apply_async
    assert call((1,), link=callback.s()).get(timeout=TIMEOUT_S) == 2
    worker.run_until_idle()
    assert heard == ["callback 2"]


@pytest.mark.parametrize("eager", [False, True])
def test_a_replaced_task_s_errbacks_are_called_once(app: Celeriac, worker: TestWorker, eager: bool) -> None:
    @app.task
    def errback(task_id: str) -> None:
        heard.append("errback")

    @app.task
    def other() -> int:
        raise KeyError

    @app.task(bind=True)
    def replaced(self: Any) -> Any:
        return self.replace(other.s())

    call = replaced.apply if eager else replaced.apply_async
    with pytest.raises(KeyError):
        call(link_error=errback.s()).get(timeout=TIMEOUT_S)
    worker.run_until_idle()
    assert heard == ["errback"]


def test_replace_in_a_function_called_directly(app: Celeriac) -> None:
    @app.task
    def other(x: int) -> int:
        return x + 1

    @app.task(bind=True)
    def replaced(self: Any, x: int) -> Any:
        return self.replace(other.s(x))

    assert replaced(1) == 2


def test_a_group_id_stays_with_retries_and_replacements(app: Celeriac, worker: TestWorker) -> None:
    @app.task(bind=True)
    def other(self: Any) -> Any:
        if self.request.retries == 0:
            raise self.retry(countdown=0, headers={"more": 1})
        return [self.request.group, self.request.group_index, self.request.root_id, self.request.get("more")]

    @app.task(bind=True)
    def replaced(self: Any) -> Any:
        return self.replace(other.s())

    result = replaced.apply_async(group_id="group", group_index=3, root_id="root")
    assert result.get(timeout=TIMEOUT_S) == ["group", 3, "root", 1]


# -- requests, tasks, memory ------------------------------------------------------------------------------------------


def test_a_task_may_keep_something_on_its_request(app: Celeriac, worker: TestWorker) -> None:
    class Timed(Task[Any, Any]):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            self.request.started = "now"  # type: ignore[attr-defined]
            self.request.update({"tenant": 7})

    @app.task(base=Timed, bind=True)
    def timed(self: Any) -> Any:
        return [self.request.started, self.request.tenant]

    assert timed.delay().get(timeout=TIMEOUT_S) == ["now", 7]


def test_an_attribute_error_in_a_property_is_told_as_it_is(app: Celeriac) -> None:
    class Shop(Task[Any, Any]):
        @property
        def database(self) -> Any:
            return None.connect  # type: ignore[attr-defined]

    @app.task(base=Shop)
    def task() -> None: ...

    with pytest.raises(AttributeError, match="NoneType"):
        _ = task.database  # type: ignore[attr-defined]


def test_a_failed_task_leaves_nothing_behind(app: Celeriac, worker: TestWorker) -> None:
    class Large:
        pass

    seen: list[weakref.ref[Large]] = []

    def fail(error: type[BaseException]) -> None:
        large = Large()
        seen.append(weakref.ref(large))
        try:
            raise KeyError
        except KeyError:
            raise error from None

    @app.task
    def fails() -> None:
        fail(ValueError)

    @app.task(autoretry_for=(OSError,), max_retries=1)
    def retries() -> None:
        fail(OSError)

    @app.task
    def ignores() -> None:
        fail(Ignore)

    @app.task
    async def fails_in_a_loop() -> None:
        fail(ValueError)

    gc.collect()
    gc.disable()
    logging.disable(logging.CRITICAL)  # pytest keeps what is logged
    try:
        for task in (fails, retries, ignores, fails_in_a_loop):
            task.delay()
        worker.run_until_idle()
        assert [reference() for reference in seen] == [None] * 5
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()


def test_a_task_can_be_pickled_by_a_shared_name(app: Celeriac) -> None:
    @app.task(name="own.name")
    def task() -> None: ...

    assert pickle.loads(pickle.dumps(task)) is task


def test_stamps_stay_with_a_retry_that_has_options(app: Celeriac, worker: TestWorker) -> None:
    @app.task(bind=True)
    def stamped(self: Any) -> Any:
        if self.request.retries == 0:
            raise self.retry(countdown=0, priority=3)
        return [self.request.stamped_headers, self.request.stamps]

    message = app.message(stamped.name)
    message.headers |= {"stamped_headers": ["tenant"], "stamps": {"tenant": ["acme"]}}
    app.sender.publish(message, {})
    assert app.AsyncResult(message.id).get(timeout=TIMEOUT_S) == [["tenant"], {"tenant": ["acme"]}]


def test_what_is_left_of_a_chain_stays_with_retries_and_replacements(app: Celeriac, worker: TestWorker) -> None:
    @app.task
    def last(value: Any) -> None:
        heard.append(f"last {value}")

    @app.task(bind=True)
    def second(self: Any, value: int) -> Any:
        if self.request.retries == 0:
            raise self.retry(countdown=0, headers={"more": 1})
        return self.replace(third.s(value))

    @app.task
    def third(value: int) -> int:
        return value + 1

    @app.task
    def first() -> int:
        return 1

    message = app.message(first.name, chain=[last.s(), second.s()])
    app.sender.publish(message, {})
    worker.run_until_idle()
    assert heard == ["last 2"]


def test_an_annotation_around_run_leaves_a_class_its_own_call(app: Celeriac) -> None:
    class Wrapping(Task[Any, Any]):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return ["call", super().__call__(*args, **kwargs)]

    def around(run: Any) -> Any:
        return lambda *args, **kwargs: ["annotated", run(*args, **kwargs)]

    app.conf.task_annotations = {"*": {"@run": around}}

    @app.task(base=Wrapping)
    def wrapped() -> Any:
        return 1

    @app.task
    def plain() -> Any:
        return 1

    assert wrapped.apply().get() == ["call", ["annotated", 1]]
    assert plain.apply().get() == ["annotated", 1]


def test_several_apps_have_their_own_shared_tasks() -> None:
    with kept():
        one = Celeriac("one", broker="memory://", backend="memory://")

        @shared_task(bind=True, name="shared.whose")
        def whose(self: Any) -> Any:
            return [self.app.main, current_app.main, self.request.id]

        other = Celeriac("other", broker="memory://", backend="memory://")
        for app in (one, other):
            app.set_current()
            result = whose.apply()
            assert result.get() == [app.main, app.main, result.id]
        with TestWorker(one) as running:  # whose threads have that app, whatever is current here
            result = one.tasks["shared.whose"].delay()
            assert result.get(timeout=TIMEOUT_S) == ["one", "one", result.id]
            running.run_until_idle()
        for app in (one, other):
            app.close()


def test_a_shared_task_may_be_looked_at_before_there_is_an_app() -> None:
    with kept():
        set_current_app(None)
        set_default_app(None)

        @shared_task
        def lonely() -> None: ...

        assert not isinstance(lonely, type)


def test_an_attribute_error_in_a_module_of_settings_is_told_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hard_settings.py").write_text("import os\nbroker_url = os.environ.gett('BROKER')\n")
    monkeypatch.syspath_prepend(tmp_path)
    app = Celeriac("settings", set_as_current=False)
    app.config_from_object("hard_settings")
    with pytest.raises(AttributeError, match="gett"):
        _ = app.settings
