"""Whatever stands in a queue: workers live on, good tasks are done, and what can't run is parked with its reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from celeriac.exceptions import ArgumentError, MessageTooLarge, NotRegistered
from celeriac.torture.journal import START, Journal
from celeriac.torture.malformed.case import PARKED, WAITS, Case, Target
from celeriac.torture.malformed.cases import all_cases
from celeriac.torture.malformed.trial import GROWTH_MAX_BYTES, Memory, not_parked, wrongly_run
from celeriac.torture.servers.service import ServiceError, wait_until
from tests.e2e import raw
from tests.e2e.harness import DEADLINE_S, Scene, task_name

MEBIBYTE = 1024 * 1024
SMALL_BYTES = 500_000
AT_ONCE = 10
"""So many before each good task; `celeriac torture` sends one by one."""


def _endured(scene: Scene, batch: list[Case], good_is_done: Callable[[], bool]) -> bool:
    raw.put_all(scene.place, scene.queue, batch)
    return good_is_done()


@pytest.mark.timeout(600)  # an idle machine needs some seconds
def test_no_malformed_message_harms_a_worker_or_its_successor(scene: Scene) -> None:
    target = Target(task=task_name("work"), mark=f"{scene.name}-malformed:")
    cases = all_cases(scene.place.name, target, scene.queue, heavy=False)
    # A lease that no burden of the machine lets run out: it would end the executors.
    worker = scene.worker("-c", "2", settings={"worker_lease_s": 300.0})
    warm = scene.keys("warm", 20)
    scene.send_all("work", [(key,) for key in warm])
    scene.until_done(warm)
    memory = Memory([worker.core, *worker.core.children(recursive=True)])
    good = iter(scene.keys("good", len(cases)))

    def good_is_done() -> bool:
        key = next(good)
        scene.send("work", key)
        try:
            wait_until(lambda: scene.journal.ends(key), f"{key} is done", deadline_s=DEADLINE_S, every_s=0.01)
        except ServiceError:
            return False
        return True

    batches = [cases[start : start + AT_ONCE] for start in range(0, len(cases), AT_ONCE)]
    held_up = [batch for batch in batches if not _endured(scene, batch, good_is_done)]
    assert held_up == []
    parked = sum(case.end == PARKED for case in cases)
    scene.until(lambda: scene.depth().dead >= parked, f"{parked} messages are parked")
    assert memory.died() == []
    assert max(memory.growth_bytes().values()) < GROWTH_MAX_BYTES, memory.growth_bytes()
    worker.terminate()
    # While nobody is there, all that is small once more, for who comes next.
    again = Target(task=task_name("work"), mark=f"{scene.name}-malformed-again:")
    small = [case for case in all_cases(scene.place.name, again, scene.queue, heavy=False) if case.size < SMALL_BYTES]
    raw.put_all(scene.place, scene.queue, small)
    successor = scene.worker("-c", "1")
    last = scene.keys("last", 3)
    scene.send_all("work", [(key,) for key in last])
    scene.until_done(last)
    parked += sum(case.end == PARKED for case in small)
    scene.until(lambda: scene.depth().dead >= parked, f"{parked} messages are parked")
    assert not_parked([*cases, *small], scene.dead_letters()) == []
    if not any(case.end == WAITS for case in cases):
        scene.until_empty()
    assert successor.process.poll() is None
    begun = {line.key for line in Journal(scene.place.journal_file, scene.name).of(START)}
    assert wrongly_run([*cases, *small], begun) == []
    for log in (worker.log, successor.log):
        assert "\x1b" not in log
        assert "\u202e" not in log


def test_an_unknown_task_is_parked_and_its_caller_told(scene: Scene) -> None:
    scene.worker("-c", "1")
    result = scene.app.send_task("no.such.task", queue=scene.queue)
    with pytest.raises(NotRegistered):
        result.get(timeout=DEADLINE_S)
    [letter] = scene.until_parked(1)
    assert "no.such.task" in letter.reason


def test_arguments_that_do_not_fit_are_parked_and_their_caller_told(scene: Scene) -> None:
    scene.worker("-c", "1")
    result = scene.send("add", 1)
    with pytest.raises(ArgumentError, match="y"):
        result.get(timeout=DEADLINE_S)
    [letter] = scene.until_parked(1)
    assert "ArgumentError" in letter.reason
    with scene.admin() as admin:
        assert admin.dead_purge(scene.queue, [letter.id]) == 1
    assert scene.dead_letters() == []


def test_a_message_over_the_limit_is_refused_where_it_is_sent(scene: Scene) -> None:
    with pytest.raises(MessageTooLarge, match="task_message_max_bytes"):
        scene.send("echo", "x" * (MEBIBYTE + 1))
