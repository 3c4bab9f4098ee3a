"""The current app, shared tasks, the current task, and the app's hooks."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac, Task, current_app, current_task, shared_task
from celeriac.canvas import Signature, maybe_signature
from celeriac.exceptions import ImproperlyConfigured, IncompleteStream, InvalidTaskError


def make(name: str, **more: Any) -> Celeriac:
    return Celeriac(name, broker="memory://", **more)


def test_without_an_app_there_is_no_current_one_and_the_error_names_the_cure() -> None:
    with pytest.raises(ImproperlyConfigured, match="create one first"):
        _ = current_app.main


def test_the_app_created_last_is_current_unless_it_does_not_want_to_be() -> None:
    first = make("first")
    assert current_app.main == "first"
    make("second")
    assert current_app.main == "second"
    make("third", set_as_current=False)
    assert current_app.main == "second"
    first.set_current()
    assert current_app == first


def test_other_threads_have_the_first_app_until_they_are_given_one() -> None:
    make("first")
    second = make("second")
    seen = []
    second.set_default()

    def look() -> None:
        seen.append(current_app.main)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == ["second"]


def test_a_shared_task_belongs_to_every_app() -> None:
    before = make("before")

    @shared_task(name="double", max_retries=7)
    def double(x: int) -> int:
        return x * 2

    after = make("after")
    assert before.tasks["double"] is not after.tasks["double"]
    assert before.tasks["double"].max_retries == after.tasks["double"].max_retries == 7
    assert double.app is after
    before.set_current()
    assert double.app is before
    assert double(4) == 8
    assert double.apply((4,)).get() == 8
    assert isinstance(double, Task)
    assert dict(double.s(1))["task"] == "double"


def test_a_shared_task_is_not_made_twice() -> None:
    app = make("app")

    def double(x: int) -> int:
        return x * 2

    once = shared_task(name="double")(double)
    with pytest.raises(InvalidTaskError, match="twice"):
        shared_task(once)
    assert app.tasks["double"](2) == 4


def test_a_shared_task_is_pickled_as_the_task_that_it_stands_for() -> None:
    make("app")

    @shared_task
    def picked() -> int:
        return 1

    assert pickle.loads(pickle.dumps(picked)) == picked


def test_the_current_task_is_the_one_whose_function_runs() -> None:
    app = make("app")

    @app.task(name="inner")
    def inner() -> str:
        return str(current_task.name)

    @app.task(name="outer")
    def outer() -> list[str]:
        return [str(current_task.name), inner(), str(app.current_worker_task and app.current_worker_task.name)]

    assert outer.apply().get() == ["outer", "inner", "outer"]
    assert app.current_task is None


def test_hooks_are_called_once_when_the_app_is_complete() -> None:
    app = make("app", task_default_queue="q")
    seen: list[str] = []

    @app.on_after_configure.connect
    def configured(sender: Celeriac, source: Any, **_more: Any) -> None:
        seen.append(source.task_default_queue)

    @app.on_after_finalize.connect
    def finalized(sender: Celeriac, **_more: Any) -> None:
        seen.append(sender.main or "")

    app.finalize()
    app.finalize()
    assert seen == ["q", "app"]


def test_an_app_takes_celery_s_arguments() -> None:
    app = Celeriac(
        "app",
        broker="memory://",
        backend="memory://",
        include=["json"],
        changes={"task_default_queue": "a"},
        config_source={"task_ignore_result": True},
        task_cls="tests.client.test_current_app:Shouting",
        strict_typing=False,
        set_as_current=False,
    )

    @app.task
    def shout(x: int) -> int:
        return x

    assert (app.settings.task_default_queue, app.settings.task_ignore_result) == ("a", True)
    assert isinstance(shout, Shouting)
    shout.check_arguments((1, 2, 3), {})


def test_the_app_s_time_and_identity() -> None:
    app = make("app")
    assert (app.timezone, app.uses_utc_timezone(), app.now().tzinfo) == (UTC, True, UTC)
    berlin = make("berlin", timezone="Europe/Berlin")
    assert (str(berlin.timezone), berlin.uses_utc_timezone()) == ("Europe/Berlin", False)
    assert app.oid == app.oid != berlin.oid
    assert app.thread_oid != app.oid
    assert app.either("task_default_queue", None, "x") == "x"
    assert app.either("task_default_queue", None) == "celery"


def test_annotations_change_tasks_that_are_there_and_those_to_come() -> None:
    app = make("app")

    @app.task(name="one", max_retries=1)
    def one() -> int:
        return 1

    app.conf.task_annotations = [{"*": {"track_started": True}, "one": {"max_retries": 9}}, Renames()]
    app.finalize()

    @app.task(name="two")
    def two() -> int:
        return 2

    assert (one.max_retries, one.track_started, two.track_started, two.priority) == (9, True, True, 3)
    with pytest.raises(ImproperlyConfigured, match=r"tasks have no option 'max_retrys'.*did you mean 'max_retries'"):
        app.conf.task_annotations = {"one": {"max_retrys": 9}}
        _ = app.settings


def test_an_annotation_may_wrap_a_method() -> None:
    app = make("app")

    def doubled(run: Any) -> Any:
        return lambda *args: run(*args) * 2

    app.conf.task_annotations = {"one": {"@run": doubled}}

    @app.task(name="one")
    def one(x: int) -> int:
        return x

    assert one.apply((4,)).get() == 8


def test_purging_deletes_what_waits_in_the_app_s_queues() -> None:
    app = make("app")
    for countdown in (0, 600):
        app.send_task("x", countdown=countdown)
    app.send_task("x", queue="another")
    assert app.control.purge() == 2
    assert app.control.discard_all() == 0


def test_results_can_be_walked() -> None:
    app = make("app", backend="memory://")

    @app.task(name="child")
    def child(x: int) -> int:
        return x + 1

    @app.task(name="parent")
    def parent() -> int:
        return 1

    result = parent.apply(link=child.s())
    assert [value for _, value in result.collect()] == [1, 2]
    assert result.get_leaf() == 2
    assert [node.id for _, node in result.iterdeps()] == [result.id, result.children[0].id]
    assert result.as_list() == [result.id]
    assert result.exists()
    assert not app.AsyncResult("nobody").exists()
    with pytest.raises(IncompleteStream):
        list(app.AsyncResult("nobody").iterdeps())
    assert [node.id for _, node in app.AsyncResult("nobody").iterdeps(intermediate=True)] == ["nobody"]


def test_a_failure_can_be_raised_from_its_result() -> None:
    app = make("app")

    @app.task
    def fail() -> None:
        raise ValueError("why")

    result = fail.apply()
    for raising in (result.throw, result.maybe_throw, result.maybe_reraise):
        with pytest.raises(ValueError, match="why"):
            raising()
    assert isinstance(result.maybe_throw(propagate=False), ValueError)


def test_a_request_can_be_made_up_for_a_test() -> None:
    app = make("app")

    @app.task(bind=True)
    def told(self: Any) -> tuple[str, int]:
        return self.request.id, self.request.retries

    told.push_request(id="made-up", retries=2)
    try:
        assert told.run() == ("made-up", 2)
    finally:
        told.pop_request()
    assert told.request.id == ""


def test_signatures_from_what_may_be_one() -> None:
    app = make("app")
    assert maybe_signature(None) is None
    found = maybe_signature({"task": "add", "args": [1]}, app=app)
    assert isinstance(found, Signature)
    assert maybe_signature(found) is found
    assert maybe_signature(found, clone=True) is not found


def test_a_class_is_told_when_it_is_bound() -> None:
    bound: list[str] = []

    class Told(Task[Any, Any]):
        @classmethod
        def on_bound(cls, app: Celeriac) -> None:
            bound.append(app.main or "")

        def run(self) -> None: ...

    make("app").register_task(Told)
    assert bound == ["app"]


def test_a_task_may_show_another_name() -> None:
    app = make("app", backend="memory://")

    class Shadowed(Task[Any, Any]):
        def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str:
            return f"import of {args[0]}"

    @app.task(bind=True, base=Shadowed)
    def load(self: Any, what: str) -> str | None:
        return str(self.request.shadow)

    @app.task(bind=True, shadow_name=lambda task, args, kwargs, options: f"{task.name} {args[0]}", name="again")
    def reload(self: Any, what: str) -> str | None:
        return str(self.request.shadow)

    assert load.apply(("sales",)).get() == "import of sales"
    assert reload.apply(("sales",)).get() == "again sales"
    assert load.apply(("sales",), shadow="mine").get() == "mine"


def test_older_names_of_signatures() -> None:
    app = make("app", backend="memory://")

    @app.task(bind=True)
    def told(self: Any, x: int) -> dict[str, Any]:
        again = self.signature_from_request(args=(x + 1,))
        return {"again": dict(again), "same": dict(self.subtask_from_request(args=(x + 1,))) == dict(again)}

    result = told.apply((1,))
    assert result.get()["same"]
    again = result.get()["again"]
    assert (again["task"], again["args"], again["options"]["task_id"]) == (told.name, [2], result.id)
    assert told.subtask((1,)) == told.signature((1,))


def test_a_request_has_celery_s_fields() -> None:
    app = make("app", backend="memory://")

    @app.task(bind=True)
    def told(self: Any) -> list[str]:
        names = (
            "args callbacks called_directly chain children chord correlation_id delivery_info errbacks eta expires group"
            " group_index headers hostname id ignore_result is_eager kwargs logfile loglevel origin parent_id properties"
            " replaced_task_nesting reply_to retries root_id shadow soft_time_limit stamped_headers stamps taskset"
            " time_limit timelimit update utc as_execution_options get queue owner"
        )
        self.request.update(tenant=7, retries=3)
        assert (self.request.tenant, self.request.retries, self.request.get("nothing", 1)) == (7, 3, 1)
        return [name for name in names.split() if not hasattr(self.request, name)]

    assert told.apply().get() == []


def test_options_that_say_nothing_here_are_accepted() -> None:
    app = make("app")

    @app.task(shared=True, lazy=False)
    def add() -> None: ...

    assert add.name in app.tasks


def test_nothing_is_added_to_a_chord_by_a_task_that_is_in_none() -> None:
    app = make("app")

    @app.task(bind=True)
    def alone(self: Any) -> None:
        self.add_to_chord(self.s())

    with pytest.raises(ValueError, match="not a member of any chord"):
        alone.apply().get()


def test_a_program_can_run_its_own_worker(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from celeriac import Celeriac\n"
        "app = Celeriac('own', broker='sqlite:///own.db')\n"
        "@app.task\ndef add(x, y): return x + y\n"
        "if __name__ == '__main__': app.worker_main(['-c', '1'])\n"
    )
    worker = subprocess.Popen([sys.executable, "own.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        with Celeriac("own", broker=f"sqlite:///{tmp_path}/own.db", set_as_current=False) as app:
            assert app.send_task("own.add", (2, 3)).get(60) == 5
    finally:
        worker.terminate()
        _out, errors = worker.communicate(timeout=60)
    assert "celeriac@" in errors
    with pytest.raises(SystemExit) as ended:
        make("app").start(["--version"])
    assert ended.value.code == 0


class Shouting(Task[Any, Any]):
    """A base class that is named by its path."""


class Renames:
    """Annotations as an object."""

    def annotate(self, task: Task[Any, Any]) -> dict[str, Any]:
        return {"priority": 3} if task.name == "two" else {}
