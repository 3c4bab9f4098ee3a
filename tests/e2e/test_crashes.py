"""Executors and whole workers die by SIGKILL: nothing is lost, and only what a crash explains runs twice."""

from __future__ import annotations

import re
import signal
import sqlite3
from contextlib import closing

import pytest

from celeriac.exceptions import WorkerLostError
from celeriac.torture.journal import START
from tests.e2e.harness import DEADLINE_S, Scene, WorkerProcess


@pytest.mark.parametrize("task", ["held", "held_in_thread", "held_async"])
def test_a_killed_executor_loses_nothing(scene: Scene, task: str) -> None:
    worker = scene.worker("-c", "1", "--threads", "4", "--async", "4")
    gate = scene.gate()
    running = scene.keys("running", 1 if task == "held" else 3)
    results = [scene.send(task, key, gate.path) for key in running]
    scene.until_started(*running)
    [pid] = {line.pid for line in scene.journal.of(START)}
    [executor] = [executor for executor in worker.executors if executor.pid == pid]
    executor.kill()
    scene.until_started(*running, times=2)
    gate.open()
    assert [result.get(timeout=DEADLINE_S) for result in results] == running
    scene.until_empty()
    assert [scene.journal.starts(key) for key in running] == [2] * len(running)
    assert "crash 1 of 3" in worker.log


def test_executors_killed_again_and_again_lose_nothing(scene: Scene) -> None:
    worker = scene.worker()
    keys = scene.keys("work", 200)
    scene.send_all("work", [(key, 0.01) for key in keys])
    killed = 0
    for goal in (20, 60, 100, 140):
        scene.until(lambda goal=goal: len(scene.journal.of("end")) >= goal, f"{goal} tasks are done")  # type: ignore[misc]
        for executor in worker.executors[:1]:
            executor.kill()
            killed += 1
    scene.until_done(keys)
    scene.until_empty()
    assert killed == 4
    assert scene.journal.extra_runs() <= killed
    assert worker.process.poll() is None
    assert scene.dead_letters() == []


def test_a_killed_fork_server_is_replaced(scene: Scene) -> None:
    worker = scene.worker("-c", "1", "--threads", "2")
    gate, keys = scene.gate(), [scene.key("held"), scene.key("held_in_thread")]
    results = [scene.send(key.partition(":")[2], key, gate.path) for key in keys]
    scene.until_started(*keys)
    [server] = worker.core.children()
    server.kill()
    scene.until_started(*keys, times=2)
    gate.open()
    assert [result.get(timeout=DEADLINE_S) for result in results] == keys
    scene.until_empty()
    assert scene.dead_letters() == []
    assert worker.terminate() == 0


def test_a_poison_task_ends_in_the_dead_letters(scene: Scene) -> None:
    worker = scene.worker()
    good, poison = scene.keys("good", 100), scene.key("poison")
    errback = scene.signature("collect_id", key=scene.key("errback"))
    calls = [(key, 0.005) for key in good]
    scene.send_all("work", calls[:50])
    result = scene.send("dies", poison, 1000, link_error=errback)
    scene.send_all("work", calls[50:])
    scene.until_done(good)
    with pytest.raises(WorkerLostError, match="died 3 times"):
        result.get(timeout=DEADLINE_S)
    scene.until(lambda: scene.journal.of("collected"), "the errback has run")
    [letter] = scene.until_parked(1)
    assert scene.journal.starts(poison) == 3
    assert scene.journal.extra_runs() == 0
    assert "died 3 times" in letter.reason
    assert letter.message is not None
    assert letter.message.id == result.id
    assert worker.process.poll() is None

    with scene.admin() as admin:
        assert admin.dead_retry(scene.queue, [letter.id]) == 1
    scene.until_started(poison, times=4)  # its count began anew: it is tried again
    scene.until(lambda: "crash 1 of 3" in worker.log.split("died 3 times")[-1], "its crash is counted from one")


def test_a_task_that_crashed_once_succeeds_later(scene: Scene) -> None:
    scene.worker("-c", "1")
    result = scene.send("dies", scene.key("once"), 1)
    assert result.get(timeout=DEADLINE_S) == "run 2"
    scene.until_empty()
    assert scene.dead_letters() == []


@pytest.mark.parametrize("successor", ["before", "after"])
def test_a_killed_worker_loses_nothing(scene: Scene, successor: str) -> None:
    """200 tasks, queued and running; another worker is there already, or starts once the first is dead."""
    worker = scene.worker("-c", "2", "--threads", "4", "--async", "10")
    if successor == "before":
        scene.worker("-c", "2", "--threads", "4", "--async", "10")
    keys = scene.keys("work", 200)
    scene.send_all("work", [(key, 0.02) for key in keys])
    gate = scene.gate()
    threads, coroutines = scene.keys("thread", 2), scene.keys("async", 5)
    for key in threads:
        scene.send("held_in_thread", key, gate.path)
    for key in coroutines:
        scene.send("held_async", key, gate.path)
    scene.until_started(*threads, *coroutines)
    scene.until(lambda: len(scene.journal.of("end")) >= 20, "20 tasks are done")
    worker.kill()
    # Its executors have died with it: what had begun and not ended will never end.
    in_flight = scene.journal.running()
    gate.open()
    if successor == "after":
        scene.worker("-c", "2", "--threads", "4", "--async", "10")
    everything = [*keys, *threads, *coroutines]
    scene.until_done(everything)
    scene.until_empty()
    # What had ended but was not settled yet runs again too: at most one batch of what each slot ran in that moment.
    assert scene.journal.extra_runs() <= 20
    assert sum(in_flight.values()) <= 2 * (2 + 4 + 10)
    assert scene.dead_letters() == []


def _freeze(worker: WorkerProcess, scene: Scene) -> None:
    """Stop a core's clock, but not while it writes to the file of the embedded broker: whoever is stopped then locks all others out."""
    scheme, _, file = scene.place.broker_url.partition(":///")
    while True:
        worker.signal(signal.SIGSTOP)
        if scheme != "sqlite":
            return
        with closing(sqlite3.connect(file, timeout=1.0, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError:  # it is locked
                worker.signal(signal.SIGCONT)


def test_a_frozen_worker_is_replaced_and_has_no_late_effect(scene: Scene) -> None:
    if not scene.place.stores_results:
        pytest.skip("RabbitMQ closes the connection of a frozen worker by its heartbeat, in tens of seconds")
    frozen = scene.worker("-c", "1")
    gate, key = scene.gate(), scene.key("taken-over")
    callback = scene.signature("collect", key=scene.key("callback"))
    result = scene.send("held", key, gate.path, link=callback)
    scene.until_started(key)
    _freeze(frozen, scene)  # the core only: the executor goes on and reports into the void
    scene.worker("-c", "1")
    scene.until_started(key, times=2)  # after the lease
    gate.open()
    assert result.get(timeout=DEADLINE_S) == key
    scene.until(lambda: scene.journal.ends(key) == 2, "the frozen worker's executor has ended it too")
    frozen.signal(signal.SIGCONT)
    scene.until(
        lambda: re.search("the lease was lost|the lease had run out|no longer ours", frozen.log),
        "the frozen worker notices",
    )
    scene.until_empty()
    probe = scene.send("work", scene.key("probe"))
    assert probe.get(timeout=DEADLINE_S)
    assert len(scene.journal.of("collected")) == 1  # one end had an effect
    assert frozen.terminate() == 0
