"""Retries, states, and what becomes of results and messages."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac import states
from celeriac.exceptions import (
    MaxRetriesExceededError,
    Reject,
    TaskRevokedError,
    TimeLimitExceeded,
    WorkerLostError,
)
from tests.e2e.harness import DEADLINE_S, Scene


def runs(scene: Scene, key: str) -> int:
    return len(scene.journal.of("run", key))


# -- retries ----------------------------------------------------------------------------------------------------------


def test_a_retry_takes_any_option_of_a_call(scene: Scene) -> None:
    options = {"countdown": 0.02, "time_limit": 50, "soft_time_limit": 40, "priority": 3, "headers": {"again": "yes"}}
    told = scene.send("retries_with", options).get(DEADLINE_S)
    assert (told["retries"], told["timelimit"], told["headers"]) == (1, [50, 40], {"again": "yes"})
    assert (told["queue"], told["priority"]) == (scene.queue, 3)


def test_a_retry_with_other_arguments(scene: Scene) -> None:
    told = scene.send("retries_with", {"kwargs": {"options": {"countdown": 0}}}).get(DEADLINE_S)
    assert told["args"] == [{"countdown": 0}]


def test_an_option_that_no_retry_has_fails_the_task_with_a_suggestion(scene: Scene) -> None:
    with pytest.raises(TypeError, match="did you mean 'priority'"):
        scene.send("retries_with", {"priorty": 3}).get(DEADLINE_S)


def test_after_the_last_retry_comes_the_error_or_that_of_the_task(scene: Scene) -> None:
    with pytest.raises(KeyError, match="it"):
        scene.send("gives_up", True).get(DEADLINE_S)
    with pytest.raises(MaxRetriesExceededError, match="Can't retry"):
        scene.send("gives_up", False).get(DEADLINE_S)
    assert scene.send("gives_up_by_hand").get(DEADLINE_S) == "gave up: ()"


def test_automatic_retries_for_some_errors_and_not_for_others(scene: Scene) -> None:
    key = scene.key("picky")
    assert scene.send("picky", key, "sometimes").get(DEADLINE_S) == "done"
    assert runs(scene, key) == 3
    with pytest.raises(FileNotFoundError):
        scene.send("picky", scene.key("never"), "never").get(DEADLINE_S)
    assert runs(scene, scene.key("never")) == 1


def test_retry_kwargs_name_limit_and_pause(scene: Scene) -> None:
    key = scene.key("kwargs")
    with pytest.raises(OSError, match="kwargs"):
        scene.send("by_kwargs", key).get(DEADLINE_S)
    assert runs(scene, key) == 2


# -- states -----------------------------------------------------------------------------------------------------------


def test_started_is_stored_where_the_task_asks_for_it(scene: Scene) -> None:
    gate = scene.gate()
    result = scene.send("waits", gate.path)
    scene.until(lambda: result.state == states.STARTED, "it is STARTED")
    started: Any = result.info
    assert started["hostname"].endswith("@e2e")
    gate.open()
    assert result.get(DEADLINE_S) == "through"


def test_a_state_of_the_task_s_own(scene: Scene) -> None:
    gate = scene.gate()
    result = scene.send("reports", gate.path)
    scene.until(lambda: result.state == "PROGRESS", "it is in PROGRESS")
    assert result.info == {"done": 3, "total": 7}
    gate.open()
    assert result.get(DEADLINE_S) == "all"


def test_ignore_leaves_the_state_that_the_task_has_set(scene: Scene) -> None:
    result = scene.send("sets_its_own_state")
    scene.until(lambda: result.state == "CUSTOM", "it has its own state")
    after = scene.send("ignores")
    assert scene.send("shared_add", 1, 1).get(DEADLINE_S) == 2
    assert after.state == states.PENDING


def test_a_rejected_task_has_failed_and_its_message_is_parked(lone_scene: Scene) -> None:
    lone_scene.worker("-c", "1")
    result = lone_scene.send("rejects", False, lone_scene.key("no"))
    with pytest.raises(Reject, match="unfit"):
        result.get(DEADLINE_S)
    (letter,) = lone_scene.until_parked(1)
    assert letter.reason == "rejected by the task: unfit"


def test_a_rejected_task_may_be_given_back(scene: Scene) -> None:
    key = scene.key("again")
    gate = scene.gate()
    assert scene.send("rejects_once", gate.path, key).get(DEADLINE_S) == "second time"
    assert runs(scene, key) == 2


def test_ignored_results_are_not_stored_but_errors_may_be(scene: Scene) -> None:
    if not scene.place.stores_results:
        pytest.skip("results are sent, and those of ignored tasks have no receiver")
    kept = scene.send("forgets_but_errors")
    with pytest.raises(ValueError, match="kept"):
        kept.get(DEADLINE_S)
    forgotten = scene.send("forgets", 1)
    assert scene.send("shared_add", 1, 1).get(DEADLINE_S) == 2
    assert forgotten.state == states.PENDING


def test_expected_errors_are_logged_without_a_traceback(lone_scene: Scene) -> None:
    worker = lone_scene.worker("-c", "1")
    with pytest.raises(KeyError):
        lone_scene.send("throws", "expected-error").get(DEADLINE_S)
    lone_scene.until(lambda: "expected-error" in worker.log, "it is logged")
    assert "Traceback" not in worker.log


def test_the_hard_limit_of_a_task(scene: Scene) -> None:
    with pytest.raises(TimeLimitExceeded):
        scene.send("limited").get(DEADLINE_S)


def test_a_task_perishes(lone_scene: Scene) -> None:
    result = lone_scene.app.send_task(lone_scene.task_name("perishable"), queue=lone_scene.queue, expires=0.1)
    lone_scene.until(lambda: lone_scene.depth().ready == 1 or True, "it waits")
    import time

    time.sleep(0.15)  # nothing tells when a moment has passed
    lone_scene.worker("-c", "1")
    if lone_scene.place.name != "rabbitmq":  # there the broker itself drops what has expired
        with pytest.raises(TaskRevokedError, match="expired"):
            result.get(DEADLINE_S)
    lone_scene.until_empty()


def test_a_task_may_be_replaced_by_another_under_its_own_id(scene: Scene) -> None:
    result = scene.send("replaced", 5, scene.queue)
    assert result.get(DEADLINE_S) == 15
    chained = scene.send("replaced", 5, scene.queue, link=scene.signature("shared_add", 100))
    assert chained.get(DEADLINE_S) == 15
    if scene.place.stores_results:
        scene.until(lambda: bool(chained.children), "its callback was sent")
        (child,) = chained.children
        assert child.get(DEADLINE_S) == 115


# -- acknowledging ----------------------------------------------------------------------------------------------------


def test_early_acknowledged_tasks_are_gone_from_the_queue_while_they_run(lone_scene: Scene) -> None:
    worker = lone_scene.worker("-c", "1")
    gate = lone_scene.gate()
    key = lone_scene.key("early")
    lone_scene.send("early", key, gate.path)
    lone_scene.until_started(key)
    lone_scene.until_empty()
    worker.kill()
    other = lone_scene.worker("-c", "1")
    assert lone_scene.send("shared_add", 1, 1).get(DEADLINE_S) == 2
    assert (lone_scene.journal.starts(key), lone_scene.journal.ends(key)) == (1, 0)
    assert other.process.poll() is None


def test_what_follows_from_an_early_acknowledged_task(scene: Scene) -> None:
    key = scene.key("early-retry")
    assert scene.send("early_retry", key).get(DEADLINE_S) == 2
    assert runs(scene, key) == 3


@pytest.mark.parametrize("task", ["early_death", "dies_once"])
def test_a_crash_fails_a_task_that_is_not_to_run_again(scene: Scene, task: str) -> None:
    key = scene.key(task)
    with pytest.raises(WorkerLostError):
        scene.send(task, key).get(DEADLINE_S)
    assert runs(scene, key) == 1


def test_a_crash_can_be_a_retry(scene: Scene) -> None:
    key = scene.key("lost")
    result = scene.send("dies_and_retries", key)
    with pytest.raises(WorkerLostError):
        result.get(DEADLINE_S)
    assert runs(scene, key) == 2


@pytest.mark.parametrize(
    ("task", "error"), [("parked_on_failure", ValueError), ("parked_on_timeout", TimeLimitExceeded)]
)
def test_failures_can_be_parked(lone_scene: Scene, task: str, error: type[Exception]) -> None:
    lone_scene.worker("-c", "1")
    with pytest.raises(error):
        lone_scene.send(task).get(DEADLINE_S)
    (letter,) = lone_scene.until_parked(1)
    assert ("it failed: ValueError: parked" in letter.reason) or ("hard time limit" in letter.reason)


def test_a_worker_that_stops_sends_early_acknowledged_work_anew_that_has_not_begun(lone_scene: Scene) -> None:
    lone_scene.worker("-c", "1")
    gate = lone_scene.gate()
    keys = lone_scene.keys("early", 5)
    lone_scene.send_all("early", [(key, gate.path) for key in keys])
    lone_scene.until_started(keys[0])
    stopping = lone_scene.fleet.workers[0]
    import signal

    stopping.signal(signal.SIGTERM)
    gate.open()
    stopping.wait()
    lone_scene.worker("-c", "1")
    lone_scene.until_done(keys)
    assert [lone_scene.journal.starts(key) for key in keys] == [1] * 5


def test_task_annotations_change_the_options_of_tasks(lone_scene: Scene) -> None:
    settings: dict[str, Any] = {
        "task_annotations": {"*": {"track_started": True}, lone_scene.task_name("limited"): {"time_limit": 0.2}}
    }
    lone_scene.worker("-c", "1", settings=settings)
    gate = lone_scene.gate()
    result = lone_scene.send("reports", gate.path)
    gate.open()
    assert result.get(DEADLINE_S) == "all"
    with pytest.raises(TimeLimitExceeded, match=r"0\.2"):
        lone_scene.send("limited").get(DEADLINE_S)
