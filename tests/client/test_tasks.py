"""Defining tasks: names, options, classes, the registry."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac, Task
from celeriac.client.options import CALL_OPTIONS, TASK_OPTIONS
from celeriac.exceptions import (
    AlreadyRegistered,
    ImproperlyConfigured,
    InvalidTaskError,
    MaxRetriesExceededError,
    NotRegistered,
    Retry,
)
from tests.client.recording import RecordingBroker

pickled_app = Celeriac("pickled", broker="memory://")


@pickled_app.task
def module_level(x: int) -> int:
    return x


class ModuleLevel(Task[[], None]):
    def run(self) -> None: ...


registered = pickled_app.register_task(ModuleLevel())


def test_a_task_is_named_after_module_and_function(app: Celeriac) -> None:
    @app.task
    def charge() -> None:
        """Take the money."""

    assert charge.name == f"{__name__}.charge"
    assert charge.__name__ == "charge"
    assert charge.__doc__ == "Take the money."
    assert app.tasks[charge.name] is charge
    assert repr(charge) == f"<task {charge.name}>"


def test_a_name_of_its_own(app: Celeriac) -> None:
    @app.task(name="pay")
    def charge() -> None: ...

    assert app.tasks["pay"] is charge


def test_names_in_the_main_module_are_those_the_worker_gives(tmp_path: Path) -> None:
    (tmp_path / "orders.py").write_text(
        textwrap.dedent(
            """
            import sys
            from celeriac import Celeriac
            app = Celeriac(*sys.argv[1:2], broker="memory://")
            @app.task
            def charge(): pass
            print(charge.name)
            """
        )
    )

    def run(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    assert run("orders.py") == "orders.charge"
    assert run("-m", "orders") == "orders.charge"
    assert run("orders.py", "shop") == "shop.charge"


def test_a_class_of_apps_may_name_the_base_of_its_tasks() -> None:
    class Base(Task[..., Any]):
        pass

    class App(Celeriac):
        task_cls = Base

    @App("own", broker="memory://", set_as_current=False).task
    def add(x: int, y: int) -> int:
        return x + y

    assert type(add) is Base


def test_delay_goes_through_a_class_own_apply_async(app: Celeriac, broker: RecordingBroker) -> None:
    class Marked(Task[..., Any]):
        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            return super().apply_async(args, kwargs, **options, headers={"mark": "own"})

    @app.task(base=Marked)
    def add(x: int, y: int) -> int:
        return x + y

    add.delay(1, y=2)
    add.s(1, 2).delay()
    assert [message.headers["mark"] for message in broker.sent.messages] == ["own", "own"]


def test_an_unknown_option_is_refused_with_a_suggestion(app: Celeriac) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"unknown option 'max_retires'; did you mean 'max_retries'\?"):

        @app.task(max_retires=3)  # type: ignore[call-overload]
        def charge() -> None: ...

    with pytest.raises(ImproperlyConfigured, match=r"unknown option 'acks_lat'; did you mean 'acks_late'\?"):

        @app.task(acks_lat=True)  # type: ignore[call-overload]
        def other() -> None: ...


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_retries": -1}, "max_retries=-1"),
        ({"time_limit": "x"}, "time_limit='x'"),
        ({"queue": ""}, "queue=''"),
        ({"autoretry_for": ("x",)}, "autoretry_for lists exception classes"),
        ({"retry_kwargs": {"x": 1}}, "retry_kwargs may hold"),
        ({"time_limit": 5, "soft_time_limit": 5}, "must be below time_limit"),
        ({"executor": "async"}, "needs an `async def`"),
        ({"executor": "greenlet"}, "executor='greenlet'"),
    ],
)
def test_a_wrong_value_is_refused(app: Celeriac, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=text):

        @app.task(**options)
        def charge() -> None: ...


def test_an_async_function_runs_in_the_async_executor(app: Celeriac) -> None:
    @app.task
    async def fetch() -> int:
        return 1

    assert fetch.executor == "async"
    with pytest.raises(ImproperlyConfigured, match="async executor"):

        @app.task(executor="thread")
        async def other() -> None: ...


def test_options_default_to_settings(app: Celeriac) -> None:
    @app.task
    def plain() -> None: ...

    @app.task(max_retries=None, time_limit=timedelta(minutes=1))
    def special() -> None: ...

    app.conf.update(task_max_retries=7, task_ignore_result=True, task_time_limit=100, task_soft_time_limit=90)
    assert plain.max_retries == 7
    assert plain.ignore_result is True
    assert plain.policy.max_retries == 7
    assert plain.policy.soft_time_limit_s == 90
    assert special.max_retries is None
    assert special.policy.max_retries is None
    assert special.policy.time_limit_s == 60
    assert special.policy.soft_time_limit_s is None, "the default would not come before the task's own hard limit"


def test_a_soft_limit_beyond_the_default_hard_limit_is_refused(app: Celeriac) -> None:
    @app.task(soft_time_limit=7200)
    def slow() -> None: ...

    with pytest.raises(ImproperlyConfigured, match="give the task a time_limit too"):
        slow.policy  # noqa: B018 - worked out when read


def test_policy_follows_a_changed_option(app: Celeriac) -> None:
    @app.task(max_retries=1)
    def charge() -> None: ...

    assert charge.policy.max_retries == 1
    charge.max_retries = 2
    assert charge.policy.max_retries == 2


def test_a_named_delay_stands_before_the_default_back_off(app: Celeriac) -> None:
    @app.task(autoretry_for=(OSError,), retry_kwargs={"max_retries": 9, "countdown": 4})
    def by_kwargs() -> None: ...

    @app.task(autoretry_for=OSError, default_retry_delay=30)
    def by_delay() -> None: ...

    @app.task(autoretry_for=[OSError], default_retry_delay=30, retry_backoff=True)
    def with_backoff() -> None: ...

    policy = by_kwargs.policy
    assert (policy.retry_backoff_s, policy.default_retry_delay_s, policy.max_retries) == (0, 4, 9)
    assert (by_delay.policy.retry_backoff_s, by_delay.policy.default_retry_delay_s) == (0, 30)
    assert (with_backoff.policy.retry_backoff_s, with_backoff.policy.default_retry_delay_s) == (1, 30)
    assert by_delay.autoretry_for == (OSError,)


class Base(Task[..., Any]):
    max_retries = 9
    queue = "mail"
    session: str | None = None
    seen: list[str]

    def __init__(self) -> None:
        self.seen = []

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.seen.append(f"success {retval}")

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        self.seen.append(f"after {status}")


def test_a_base_class_gives_options_and_handlers(app: Celeriac) -> None:
    @app.task(base=Base, session="mine")  # type: ignore[call-overload]
    def charge() -> int:
        return 1

    @app.task(base=Base, max_retries=1)
    def other() -> None: ...

    assert isinstance(charge, Base)
    assert (charge.policy.max_retries, charge.queue) == (9, "mail")
    assert charge.session == "mine"
    assert other.policy.max_retries == 1
    assert charge.apply().get() == 1
    assert charge.seen == ["success 1", "after SUCCESS"]


def test_an_app_may_have_a_base_class_for_all() -> None:
    app = Celeriac(broker="memory://", task_cls=Base)

    @app.task
    def charge() -> None: ...

    assert isinstance(charge, Base)


def test_class_based_tasks(app: Celeriac) -> None:
    class Charge(Task[[int], int]):
        name = "charge"
        time_limit = 5

        def run(self, order_id: int) -> int:
            return order_id * 2

    class Fetch(Task[[], int]):
        async def run(self) -> int:
            return 3

    charge = app.register_task(Charge())
    fetch = app.register_task(Fetch)
    assert app.tasks["charge"] is charge
    assert charge(2) == 4
    assert charge.policy.time_limit_s == 5
    assert charge.apply((3,)).get() == 6
    assert (fetch.executor, fetch.apply().get()) == ("async", 3)

    class Empty(Task[[], None]): ...

    with pytest.raises(InvalidTaskError, match="no run"):
        app.register_task(Empty())
    with pytest.raises(InvalidTaskError, match="register_task"):
        app.task(Charge)


def test_two_functions_of_one_name(app: Celeriac) -> None:
    def first() -> None: ...
    def second() -> None: ...

    task = app.task(name="x")(first)
    with pytest.raises(AlreadyRegistered, match=r"test_tasks\.py:\d+ and .*test_tasks\.py:\d+"):
        app.task(name="x")(second)
    assert app.tasks["x"] is task
    again = app.task(name="x")(first)  # a module imported again
    assert app.tasks["x"] is again


def test_a_missing_task_names_the_nearest(app: Celeriac) -> None:
    @app.task(name="shop.charge")
    def charge() -> None: ...

    with pytest.raises(NotRegistered, match=r"did you mean 'shop.charge'\?"):
        app.tasks["shop.chrage"]
    assert app.tasks.get("nothing") is None
    assert "shop.charge" in app.tasks
    assert list(app.tasks) == ["shop.charge"]
    app.tasks.unregister("shop.charge")
    assert len(app.tasks) == 0


def test_calling_the_function_here(app: Celeriac) -> None:
    @app.task(bind=True)
    def charge(self: Task[..., Any], order_id: int) -> tuple[int, bool, str]:
        return order_id, self.request.called_directly, self.request.id

    @app.task(bind=True)
    async def fetch(self: Task[..., Any], url: str) -> tuple[str, bool]:
        await asyncio.sleep(0)
        return url, self.request.called_directly

    assert charge(3) == (3, True, "")
    assert asyncio.run(fetch("u")) == ("u", True)


def test_a_function_called_directly_in_a_task_has_a_request_of_its_own(app: Celeriac) -> None:
    @app.task(bind=True)
    def inner(self: Task[..., Any]) -> tuple[bool, str]:
        return self.request.called_directly, self.request.id

    @app.task(bind=True)
    def outer(self: Task[..., Any]) -> tuple[Any, str, str]:
        return inner(), self.request.id, inner.request.id

    assert outer.apply(task_id="o").get() == ((True, ""), "o", "")


def test_retry_without_a_worker_raises_the_error(app: Celeriac) -> None:
    @app.task(bind=True)
    def charge(self: Task[..., Any], how: str) -> None:
        if how == "given":
            raise self.retry(exc=KeyError("given"))
        if how == "current":
            try:
                raise ValueError("current")
            except ValueError:
                self.retry()
        self.retry()

    with pytest.raises(KeyError):
        charge("given")
    with pytest.raises(ValueError, match="current"):
        charge("current")
    with pytest.raises(Retry, match="called directly"):
        charge("neither")


def test_retry_says_what_the_next_run_is_like(app: Celeriac) -> None:
    caught: list[Retry] = []

    @app.task(bind=True, max_retries=1)
    def charge(self: Task[..., Any], order_id: int) -> int:
        if self.request.retries == 0:
            try:
                self.retry((order_id + 1,), countdown=100, exc=ValueError("x"), queue="slow")
            except Retry as asked:
                caught.append(asked)
                raise
        return order_id

    assert charge.apply((1,)).get() == 2
    (asked,) = caught
    assert asked.when_s is not None
    assert asked.when == 100
    assert asked.args_override == (2,)
    assert asked.kwargs_override is None
    assert asked.options == {"queue": "slow"}
    assert "in 100s" in str(asked)


def test_retry_after_the_last_one(app: Celeriac) -> None:
    @app.task(bind=True, max_retries=2)
    def charge(self: Task[..., Any], with_error: bool) -> None:
        raise self.retry(exc=KeyError("mine") if with_error else None)

    with pytest.raises(KeyError):
        charge.apply((True,)).get()
    with pytest.raises(MaxRetriesExceededError, match="2 retries"):
        charge.apply((False,)).get()
    assert charge.MaxRetriesExceededError is MaxRetriesExceededError


def test_retry_takes_no_other_options(app: Celeriac) -> None:
    @app.task(bind=True)
    def charge(self: Task[..., Any]) -> None:
        self.retry(contdown=3)

    with pytest.raises(TypeError, match="contdown"):
        charge.apply().get()


def test_pickling_is_by_the_module_variable(app: Celeriac) -> None:
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    assert pickle.loads(pickle.dumps(registered)) is registered

    @app.task
    def local() -> None: ...

    app.set_current()
    assert pickle.loads(pickle.dumps(local)) is local  # no variable holds it: it is found by name in the current app


def test_including_and_discovering_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "celeriac_test_shop"
    (package / "broken").mkdir(parents=True)
    (package / "__init__.py").write_text("from celeriac import Celeriac\napp = Celeriac(broker='memory://')\n")
    (package / "tasks.py").write_text(
        "from celeriac_test_shop import app\n@app.task(name='found')\ndef found(): pass\n"
    )
    (package / "more.py").write_text("from celeriac_test_shop import app\n@app.task(name='more')\ndef more(): pass\n")
    (package / "broken" / "__init__.py").write_text("")
    (package / "broken" / "tasks.py").write_text("import does_not_exist_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__("celeriac_test_shop")
    app = module.app
    app.include.append("celeriac_test_shop.more")
    app.autodiscover_tasks(lambda: ["celeriac_test_shop", "email"])  # a package without tasks does no harm
    assert set(app.tasks) == set()
    app.import_default_modules()
    assert set(app.tasks) == {"found", "more"}
    with pytest.raises(ModuleNotFoundError, match="does_not_exist_anywhere"):
        app.autodiscover_tasks(["celeriac_test_shop.broken"], force=True)


def test_the_options_that_are_typed_are_those_that_exist() -> None:
    for option in TASK_OPTIONS:
        assert hasattr(Task, option), option
    assert len(set(CALL_OPTIONS)) == len(CALL_OPTIONS)
