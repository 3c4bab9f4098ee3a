"""Who runs what: no task waits behind a long one while somebody is free, and executors are renewed without a loss."""

from __future__ import annotations

import pytest

from celeriac.torture.journal import END, START
from tests.e2e.harness import DEADLINE_S, Scene


def warm_up(scene: Scene, count: int = 200) -> None:
    """Have the worker see that its tasks are short, so that it takes them ahead."""
    keys = scene.keys("warm-up", count)
    scene.send_all("work", [(key,) for key in keys])
    scene.until_done(keys)


def test_nothing_waits_behind_a_long_task_while_a_slot_is_free(scene: Scene) -> None:
    scene.worker("-c", "2")
    warm_up(scene)
    gate, long, short = scene.gate(), scene.key("long"), scene.keys("short", 50)
    result = scene.send("held", long, gate.path)
    scene.send_all("work", [(key,) for key in short])
    scene.until_done(short)  # would never be, if any waited behind the long one
    assert scene.journal.ends(long) == 0
    gate.open()
    assert result.get(timeout=DEADLINE_S) == long
    scene.until_empty()
    assert scene.journal.extra_runs() == 0


def test_a_worker_full_of_long_tasks_gives_the_rest_to_others(scene: Scene) -> None:
    scene.worker("-c", "2")
    warm_up(scene)
    gate = scene.gate()
    # In one batch, so that short ones are taken ahead together with the long ones.
    long, short = scene.keys("long", 2), scene.keys("short", 50)
    scene.send_all("work", [(key,) for key in short[:25]])
    results = scene.send_all("held", [(key, gate.path) for key in long])
    scene.send_all("work", [(key,) for key in short[25:]])
    scene.until_started(*long)
    scene.worker("-c", "1")
    scene.until_done(short)
    gate.open()
    assert [result.get(timeout=DEADLINE_S) for result in results] == long
    scene.until_empty()
    assert scene.journal.extra_runs() == 0
    assert scene.dead_letters() == []


def test_threads_and_coroutines_run_at_once(scene: Scene) -> None:
    scene.worker("-c", "1", "--threads", "4", "--async", "10")
    gate = scene.gate()
    threads, coroutines, process = scene.keys("thread", 4), scene.keys("async", 10), scene.key("process")
    scene.send_all("held_in_thread", [(key, gate.path) for key in threads])
    scene.send_all("held_async", [(key, gate.path) for key in coroutines])
    scene.send("held", process, gate.path)
    scene.until_started(*threads, *coroutines, process)
    assert len({line.pid for line in scene.journal.of(START)}) == 3
    gate.open()
    scene.until_empty()


def test_urgent_priorities_come_first(scene: Scene) -> None:
    if scene.place.name == "rabbitmq":
        pytest.skip("quorum queues of RabbitMQ 3 know no priorities")
    keys = {priority: scene.keys(f"p{priority}", 5) for priority in (0, 3, 6, 9)}
    for number in range(5):
        for priority, names in keys.items():
            scene.send("work", names[number], priority=priority)
    scene.worker("-c", "1", settings={"worker_prefetch_max": 0})
    scene.until_done([key for names in keys.values() for key in names])
    order = [int(line.key.partition(":p")[2][0]) for line in scene.journal.of(END)]
    assert order == sorted(order, reverse=True)  # on every broker the highest number is the most urgent


def test_an_executor_is_renewed_after_so_many_tasks(scene: Scene) -> None:
    worker = scene.worker("-c", "2", "--threads", "2", "--max-tasks-per-child", "10")
    keys, threaded = scene.keys("work", 100), scene.keys("thread", 30)
    gate = scene.gate()
    gate.open()
    scene.send_all("work", [(key,) for key in keys])
    scene.send_all("held_in_thread", [(key, gate.path) for key in threaded])
    scene.until_done([*keys, *threaded])
    scene.until_empty()
    assert scene.journal.extra_runs() == 0
    runs: dict[int, int] = {}
    for line in scene.journal.of(END):
        if line.key in keys:
            runs[line.pid] = runs.get(line.pid, 0) + 1
    assert max(runs.values()) <= 10
    assert len(runs) >= 10
    assert worker.process.poll() is None


def test_an_executor_is_renewed_when_it_has_grown(scene: Scene) -> None:
    scene.worker("-c", "1", "--max-memory-per-child", "200000")
    keys = scene.keys("grows", 12)
    results = scene.send_all("grows", [(key, 40) for key in keys])
    pids = [result.get(timeout=DEADLINE_S) for result in results]
    assert scene.journal.extra_runs() == 0
    assert 2 <= len(set(pids)) < len(pids)
