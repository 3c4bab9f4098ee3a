"""Workers stop by signals: what runs may end, what can't goes back, and the exit code is 0."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.harness import Scene


def test_sigterm_with_short_tasks_doubles_nothing(scene: Scene) -> None:
    first = scene.worker()
    keys = scene.keys("work", 200)
    scene.send_all("work", [(key, 0.01) for key in keys])
    scene.until(lambda: len(scene.journal.of("end")) >= 30, "30 tasks are done")
    assert first.terminate() == 0
    assert not scene.journal.running()
    depth = scene.depth()
    assert not depth.claimed
    assert depth.ready == len(scene.journal.missing(keys)) > 0  # given back at once, not by a lease that ends
    scene.worker()
    scene.until_done(keys)
    scene.until_empty()
    assert scene.journal.extra_runs() == 0
    assert len(scene.journal.of("start")) == len(keys)


@pytest.mark.parametrize("task", ["held", "held_in_thread", "held_async"])
def test_sigterm_gives_back_what_outlasts_the_grace(scene: Scene, task: str) -> None:
    first = scene.worker("-c", "1", "--threads", "2", "--async", "2", "--grace", "0.5")
    gate, key = scene.gate(), scene.key("long")
    result = scene.send(task, key, gate.path)
    scene.until_started(key)
    assert first.terminate() == 0
    assert scene.depth().ready == 1
    gate.open()
    second = scene.worker("-c", "1", "--threads", "2", "--async", "2")
    assert result.get(timeout=30) == key
    scene.until_empty()
    assert (scene.journal.starts(key), scene.journal.ends(key)) == (2, 1)
    assert "crash" not in second.log
    assert scene.dead_letters() == []


def test_sigterm_waits_for_what_ends_in_time(scene: Scene) -> None:
    worker = scene.worker("-c", "1", "--threads", "2", "--async", "2")
    gate = scene.gate()
    keys = [scene.key(kind) for kind in ("held", "held_in_thread", "held_async")]
    results = [scene.send(key.partition(":")[2], key, gate.path) for key in keys]
    scene.until_started(*keys)
    worker.signal(signal.SIGTERM)
    scene.until(lambda: "shutting down" in worker.log, "the worker has heard")
    gate.open()
    assert worker.wait() == 0
    assert [result.get(timeout=30) for result in results] == keys
    assert not scene.depth().ready


def test_a_second_sigint_stops_at_once(scene: Scene) -> None:
    worker = scene.worker("-c", "1")
    gate, key = scene.gate(), scene.key("long")
    result = scene.send("held", key, gate.path)
    scene.until_started(key)
    worker.signal(signal.SIGINT)
    scene.until(lambda: "shutting down" in worker.log, "the worker has heard")
    assert worker.process.poll() is None
    worker.signal(signal.SIGINT)
    assert worker.wait() == 0
    assert scene.journal.ends(key) == 0
    gate.open()
    scene.worker("-c", "1")
    assert result.get(timeout=30) == key


def test_sigquit_stops_at_once(scene: Scene) -> None:
    worker = scene.worker("-c", "1")
    key = scene.key("long")
    scene.send("held", key, scene.gate().path)
    scene.until_started(key)
    worker.signal(signal.SIGQUIT)
    assert worker.wait() == 0
    assert scene.depth().ready == 1


def test_a_signal_to_the_whole_group_tears_no_task_out(scene: Scene) -> None:
    """Ctrl-C in a terminal reaches every process of the group."""
    worker = scene.worker("-c", "1", "--threads", "2", "--async", "2")
    gate = scene.gate()
    keys = [scene.key(kind) for kind in ("held", "held_in_thread", "held_async")]
    for key in keys:
        scene.send(key.partition(":")[2], key, gate.path)
    scene.until_started(*keys)
    for process in (worker.core, *worker.core.children(recursive=True)):
        process.send_signal(signal.SIGINT)
    scene.until(lambda: "shutting down" in worker.log, "the worker has heard")
    gate.open()
    assert worker.wait() == 0
    assert [(scene.journal.starts(key), scene.journal.ends(key)) for key in keys] == [(1, 1)] * 3
