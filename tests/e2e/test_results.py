"""What tasks return and raise arrives as it was, whatever kind of executor ran them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from celeriac.exceptions import CeleriacError, TaskFailed
from tests.e2e.app import OutOfStock
from tests.e2e.harness import DEADLINE_S, ROOT, Place, Scene

VALUES = (None, True, 0, -1.5, 2**60, "", "žluťoučký \N{HORSE} \u2028\x00", [1, [2, {"a": None}]], {"ключ": ["ö"]})


@pytest.mark.parametrize("task", ["add", "add_in_thread", "add_async"])
def test_each_kind_of_executor_returns_its_results(shared_scene: Scene, task: str) -> None:
    results = shared_scene.send_all(task, [(number, 1) for number in range(30)])
    assert [result.get(timeout=DEADLINE_S) for result in results] == [number + 1 for number in range(30)]
    assert {result.state for result in results} == {"SUCCESS"}


def test_values_arrive_as_they_were(shared_scene: Scene) -> None:
    results = [shared_scene.send("echo", value) for value in VALUES]
    assert [result.get(timeout=DEADLINE_S) for result in results] == list(VALUES)


def test_a_coroutine_waits_for_results(shared_scene: Scene) -> None:
    async def main() -> list[int]:
        results = [
            await shared_scene.app.asend_task("tests.e2e.app.add", (number, number), queue=shared_scene.queue)
            for number in range(10)
        ]
        return [await result.aget(timeout=DEADLINE_S) for result in results]

    assert asyncio.run(main()) == [2 * number for number in range(10)]


def test_a_task_knows_its_call(shared_scene: Scene) -> None:
    result = shared_scene.send("about", shared_scene.key("a"), headers={"tenant": "blue"}, priority=3)
    told = result.get(timeout=DEADLINE_S)
    assert told.pop("hostname").endswith("@e2e")
    assert told == {
        "id": result.id,
        "task": "tests.e2e.app.about",
        "root_id": result.id,
        "retries": 0,
        "tenant": "blue",
        "queue": shared_scene.queue,
        "priority": 3,
    }


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("builtin", ValueError, r"no good"),
        ("own", OutOfStock, r"spoon"),
        ("not reproducible", TaskFailed, r"NeedsKeyword.*because"),
        ("exit", TaskFailed, r"SystemExit.*3"),
        ("unicode", RuntimeError, r"kůň \N{HORSE}"),
    ],
)
def test_what_a_task_raises_is_raised_by_get(shared_scene: Scene, kind: str, error: type[Exception], text: str) -> None:
    result = shared_scene.send("fail", kind)
    with pytest.raises(error, match=text) as caught:
        result.get(timeout=DEADLINE_S)
    assert result.state == "FAILURE"
    assert "in fail" in (result.traceback or "")
    if isinstance(caught.value, OutOfStock):
        assert (caught.value.article, caught.value.left) == ("spoon", 0)


def test_a_result_that_cannot_be_written_fails_its_task(shared_scene: Scene) -> None:
    with pytest.raises((CeleriacError, TypeError), match="object"):
        shared_scene.send("unwritable").get(timeout=DEADLINE_S)


def test_large_arguments_and_results(shared_scene: Scene) -> None:
    assert len(shared_scene.send("big", 4_000_000).get(timeout=DEADLINE_S)) == 4_000_000
    argument = "ü" * 150_000  # over what one packet between core and executor holds
    assert shared_scene.send("echo", argument).get(timeout=DEADLINE_S) == argument


def test_a_result_over_the_limit_fails_its_task(scene: Scene) -> None:
    scene.worker("-c", "1", settings={"result_max_bytes": 1000})
    with pytest.raises(CeleriacError, match="result_max_bytes"):
        scene.send("big", 2000).get(timeout=DEADLINE_S)
    assert scene.send("big", 500).get(timeout=DEADLINE_S) == "x" * 500


def test_ignored_results_are_not_kept(shared_scene: Scene) -> None:
    scene = shared_scene
    by_call = scene.send("work", scene.key("by-call"), ignore_result=True)
    by_task = scene.send("quiet", scene.key("by-task"))
    failing = scene.send("fail", "ignore")
    scene.until_done([scene.key("by-call"), scene.key("by-task")])
    scene.until_empty()
    assert by_call.get() is None
    fresh = scene.app.AsyncResult(by_call.id)
    assert (fresh.state, by_task.state, failing.state) == ("PENDING", "PENDING", "PENDING")


def test_a_running_task_tells_its_progress(shared_scene: Scene) -> None:
    scene, gate = shared_scene, shared_scene.gate()
    result = scene.send("progress", scene.key("a"), gate.path)
    scene.until(lambda: result.state == "PROGRESS", "the state PROGRESS is seen")
    assert result.info == {"done": 1, "of": 2}
    gate.open()
    assert result.get(timeout=DEADLINE_S) == "done"


def test_callbacks_get_the_result_and_errbacks_the_id(shared_scene: Scene) -> None:
    scene = shared_scene
    links = [
        scene.signature("collect", key=scene.key("linked")),
        scene.signature("collect", "x", key=scene.key("both")),
    ]
    scene.send("add", 2, 3, link=links, link_error=scene.signature("collect_id", key=scene.key("never")))
    failed = scene.send("fail", "own", link_error=scene.signature("collect_id", key=scene.key("failed")))
    scene.until(lambda: len(scene.journal.of("collected")) >= 3, "callbacks and errback have run")
    scene.until_empty()
    given = {line.key.partition(":")[2]: line.more["args"] for line in scene.journal.of("collected")}
    assert given == {"linked": [5], "both": [5, "x"], "failed": [failed.id]}


def test_a_task_sends_others(shared_scene: Scene) -> None:
    scene = shared_scene
    ids = scene.send("send_more", scene.key("parent"), 20, scene.queue).get(timeout=DEADLINE_S)
    assert len(set(ids)) == 20
    scene.until_done([scene.key(f"parent.{number}") for number in range(20)])
    assert scene.journal.extra_runs() == 0


def test_a_rejected_task_is_parked(scene: Scene) -> None:
    scene.worker("-c", "1")
    scene.send("fail", "reject")
    [letter] = scene.until_parked(1)
    assert "not here" in letter.reason
    assert letter.message is not None
    assert letter.message.task == "tests.e2e.app.fail"


def test_another_process_reads_the_result(request: pytest.FixtureRequest, place: Place, scene: Scene) -> None:
    backend_url = place.backend_url if place.stores_results else request.getfixturevalue("e2e_redis").database_url(1)
    elsewhere = Place(place.name, place.broker_url, backend_url, place.directory, place.server)
    worker_scene = Scene(elsewhere, scene.fleet.guard, scene.queue)
    try:
        worker_scene.worker("-c", "1")
        sent: list[Any] = [worker_scene.send("add", 1, 2), worker_scene.send("fail", "own")]
        # The other process starts to wait before or after the tasks have ended: either must do.
        program = (
            "import json, sys; from tests.e2e.app import app\n"
            "values = [app.AsyncResult(id).get(timeout=60, propagate=False) for id in sys.argv[1:]]\n"
            "print(json.dumps([repr(value) for value in values])); app.close()"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *(result.id for result in sent)],
            cwd=ROOT,
            env=elsewhere.environment({}),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == ["3", "OutOfStock('spoon', 0)"]
    finally:
        worker_scene.close()
        elsewhere.app.close()
