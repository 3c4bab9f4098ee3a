"""Time limits hold in every kind of executor, and whoever was beside a task over its limit suffers nothing for it."""

from __future__ import annotations

import pytest

from celeriac.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from tests.e2e.harness import DEADLINE_S, Scene


@pytest.mark.parametrize("task", ["soft", "soft_in_thread", "soft_async"])
def test_a_soft_limit_can_be_caught(shared_scene: Scene, task: str) -> None:
    key = shared_scene.key(task)
    assert shared_scene.send(task, key).get(timeout=DEADLINE_S) == "tidied up"
    assert (shared_scene.journal.starts(key), len(shared_scene.journal.of("soft", key))) == (1, 1)


def test_the_limits_of_a_call_go_before_those_of_the_task(shared_scene: Scene) -> None:
    key = shared_scene.key("soft")
    result = shared_scene.send("held", key, shared_scene.gate().path, soft_time_limit=0.2, time_limit=30)
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=DEADLINE_S)
    assert result.state == "FAILURE"


@pytest.mark.parametrize("task", ["stuck", "stuck_in_thread", "stuck_async"])
def test_a_hard_limit_ends_its_task_alone(scene: Scene, task: str) -> None:
    scene.worker("-c", "2", "--threads", "8", "--async", "8")
    gate = scene.gate()
    neighbour = {"stuck": "held", "stuck_in_thread": "held_in_thread", "stuck_async": "held_async"}[task]
    # Two processes: one runs the stuck task, one its neighbour. Threads and coroutines share a process with it.
    neighbours = scene.keys("neighbour", 1 if task == "stuck" else 3)
    results = [scene.send(neighbour, key, gate.path) for key in neighbours]
    scene.until_started(*neighbours)
    key = scene.key("stuck")
    errback = scene.signature("collect_id", key=scene.key("errback"))
    stuck = scene.send(task, key, link_error=errback)
    with pytest.raises(TimeLimitExceeded):
        stuck.get(timeout=DEADLINE_S)
    gate.open()
    assert [result.get(timeout=DEADLINE_S) for result in results] == neighbours
    scene.until(lambda: scene.journal.of("collected"), "the errback has run")
    scene.until_empty()
    assert scene.journal.starts(key) == 1
    runs_of_neighbours = 1 if task == "stuck" else 2  # their process was killed under them: run again, and not counted
    assert [scene.journal.starts(one) for one in neighbours] == [runs_of_neighbours] * len(neighbours)
    assert scene.dead_letters() == []


def test_many_tasks_over_their_limit_lose_nobody(scene: Scene) -> None:
    worker = scene.worker()
    good, stuck = scene.keys("good", 60), scene.keys("stuck", 4)
    calls = [(key, 0.005) for key in good]
    scene.send_all("work", calls[:30])
    late = scene.send_all("stuck", [(key,) for key in stuck])
    scene.send_all("work", calls[30:])
    scene.until_done(good)
    for result in late:
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=DEADLINE_S)
    scene.until_empty()
    assert scene.journal.extra_runs() == 0
    assert [scene.journal.starts(key) for key in stuck] == [1] * 4
    assert worker.process.poll() is None
