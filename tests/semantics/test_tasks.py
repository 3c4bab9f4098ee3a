"""Classes, handlers, requests and shared tasks."""

from __future__ import annotations

import pytest

from celeriac.exceptions import TimeLimitExceeded
from tests.e2e.harness import DEADLINE_S, Scene


def events(scene: Scene, key: str) -> list[str]:
    return [line.event for line in scene.journal.lines if line.key == key]


def test_the_handlers_of_a_success(scene: Scene) -> None:
    key = scene.key("fine")
    result = scene.app.send_task(scene.task_name("recorded"), ("ok",), {"key": key}, queue=scene.queue)
    assert result.get(DEADLINE_S) == "ok"
    assert events(scene, key) == ["before_start", "on_success", "after_return"]
    assert all(line.more["id"] == result.id for line in scene.journal.lines if line.key == key)


def test_the_handlers_of_a_failure_get_the_error_and_its_traceback(scene: Scene) -> None:
    key = scene.key("failed")
    result = scene.app.send_task(scene.task_name("recorded"), ("fail",), {"key": key}, queue=scene.queue)
    with pytest.raises(ValueError, match="fail"):
        result.get(DEADLINE_S)
    assert events(scene, key) == ["before_start", "on_failure", "after_return"]
    (failed,) = scene.journal.of("on_failure", key)
    assert (failed.more["error"], failed.more["text"].strip().endswith("ValueError: fail")) == (
        "ValueError('fail')",
        True,
    )


def test_the_handlers_of_a_retry(scene: Scene) -> None:
    key = scene.key("retried")
    result = scene.app.send_task(scene.task_name("recorded_retry"), (), {"key": key}, queue=scene.queue)
    assert result.get(DEADLINE_S) == 1
    retry_run = ["before_start", "on_retry", "after_return"]
    assert events(scene, key) == [*retry_run, "before_start", "on_success", "after_return"]
    assert [line.more["status"] for line in scene.journal.of("after_return", key)] == ["RETRY", "SUCCESS"]


def test_handlers_hear_of_ends_that_left_no_process_to_call_them_in(scene: Scene) -> None:
    key = scene.key("hang")
    name = scene.task_name("recorded")
    result = scene.app.send_task(name, ("hang",), {"key": key}, time_limit=0.3, queue=scene.queue)
    with pytest.raises(TimeLimitExceeded):
        result.get(DEADLINE_S)
    assert events(scene, key)[-2:] == ["on_failure", "after_return"]


def test_a_class_may_wrap_each_call_and_the_request_stays_the_same(scene: Scene) -> None:
    result = scene.send("counted", 5)
    assert result.get(DEADLINE_S) == ["wrapped", [5, False, result.id]]


def test_a_task_that_is_a_class(scene: Scene) -> None:
    assert scene.send("greeting", "you").get(DEADLINE_S) == "hello you"


def test_shared_tasks_belong_to_the_worker_s_app(scene: Scene) -> None:
    assert scene.send("shared_add", 2, 3).get(DEADLINE_S) == 5
    assert scene.send("calls_another", 2).get(DEADLINE_S) == 3
    bound = scene.app.send_task("own.name", queue=scene.queue)
    assert bound.get(DEADLINE_S) == ["own.name", 7, "semantics", "own.name"]


def test_the_request_tells_what_the_caller_said(scene: Scene) -> None:
    names = (
        "id",
        "task",
        "retries",
        "shadow",
        "headers",
        "timelimit",
        "time_limit",
        "root_id",
        "parent_id",
        "is_eager",
    )
    more = ("called_directly", "queue", "argsrepr", "correlation_id", "ignore_result", "lang", "tenant", "hostname")
    result = scene.send(
        "request", *names, *more, shadow="alias", headers={"tenant": 7}, time_limit=60, soft_time_limit=30
    )
    told = result.get(DEADLINE_S)
    assert told["hostname"].endswith("@e2e")
    assert told["argsrepr"].startswith("('id', 'task'")
    for name in ("hostname", "argsrepr"):
        del told[name]
    assert told == {
        "id": result.id,
        "task": scene.task_name("request"),
        "retries": 0,
        "shadow": "alias",
        "headers": {"tenant": 7},
        "timelimit": [60, 30],
        "time_limit": 60,
        "root_id": result.id,
        "parent_id": None,
        "is_eager": False,
        "called_directly": False,
        "queue": scene.queue,
        "correlation_id": result.id,
        "ignore_result": None,
        "lang": "py",
        "tenant": 7,
    }


def test_what_a_task_sends_is_its_child(scene: Scene) -> None:
    result = scene.send("parent", scene.queue)
    own, child = result.get(DEADLINE_S)
    assert scene.app.AsyncResult(child).get(DEADLINE_S) == {"parent_id": own, "root_id": own} if stores(scene) else True
    if stores(scene):
        assert [one.id for one in result.children or ()] == [child]


def test_trail_false_notes_no_children(scene: Scene) -> None:
    result = scene.send("untrailed", scene.queue)
    result.get(DEADLINE_S)
    assert not result.children


def test_hooks_of_the_app_are_called_in_a_worker(scene: Scene) -> None:
    assert scene.send("was_configured").get(DEADLINE_S) == ["semantics", "semantics", "changed-by-celeryd_init"]


def stores(scene: Scene) -> bool:
    return scene.place.stores_results
