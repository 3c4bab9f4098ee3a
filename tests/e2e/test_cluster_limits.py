"""Rates and permits hold over all workers together, and limited tasks stand in nobody's way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac.exceptions import TaskRevokedError
from celeriac.torture.journal import START, Line
from tests.e2e import limits_app as program
from tests.e2e.harness import DEADLINE_S, Fleet, Guard, Place, Scene
from tests.services import PrivateRedis

PROGRAM = "tests.e2e.limits_app"
QUEUE = "limits"
CLOCK_S = 0.005
"""What clocks of processes may differ by."""


@pytest.fixture(scope="session")
def limit_settings(place: Place, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a worker needs on this place: on RabbitMQ a Redis to agree on limits."""
    settings: dict[str, Any] = {"task_rate_limit_horizon_s": 2.0}
    if place.name == "rabbitmq":
        settings["coordination_url"] = request.getfixturevalue("e2e_redis").database_url(5)
    return settings


@pytest.fixture(scope="session")
def limited_workers(place: Place, guard: Guard, limit_settings: dict[str, Any]) -> Iterator[Fleet]:
    """Two workers with three processes each, for every test that does them no harm."""
    place.app.conf.update(limit_settings)
    fleet = Fleet(place, guard, PROGRAM)
    try:
        for _ in range(2):
            fleet.start(QUEUE, "-c", "3", settings=limit_settings)
        yield fleet
    finally:
        fleet.close()


@pytest.fixture
def limited(place: Place, guard: Guard, limited_workers: Fleet) -> Iterator[Scene]:
    """A scene on the queue of those workers."""
    scene = Limited(place, guard, QUEUE)
    yield scene
    scene.close()
    assert all(worker.process.poll() is None for worker in limited_workers.workers)


class Limited(Scene):
    """A scene whose tasks are those of the limits' program; the caller knows them too, so that it can work out keys."""

    def __init__(self, place: Place, guard: Guard, queue: str | None = None) -> None:
        super().__init__(place, guard, queue, PROGRAM)
        for task in (program.one_per_tenant, program.five_per_tenant):
            if task.name not in self.app.tasks:
                keys = {"max_concurrency_key": task.max_concurrency_key, "rate_limit_key": task.rate_limit_key}
                self.app.task(name=task.name, max_concurrency=task.max_concurrency, **keys)(task.run)  # type: ignore[call-overload]

    def task_name(self, name: str) -> str:
        """The full name of one of the program's tasks."""
        return f"limits.{name}"

    def most_at_once(self, keys: list[str]) -> int:
        """How many of these keys ran at the same moment at most."""
        running = most = 0
        for line in self.journal.lines:
            if line.key in keys:
                running += 1 if line.event == START else -1
                most = max(most, running)
        return most

    def starts_of(self, keys: list[str]) -> list[Line]:
        """When these keys began, in order of time."""
        return sorted((line for line in self.journal.of(START) if line.key in keys), key=lambda line: line.at)


def check_rate(starts: list[Line], per_second: float, since: float) -> None:
    """Fail when a task has begun before its turn, counted from `since`, when none of them had.

    A busy machine makes a start late, so that it seems close to the next one; what it never does is make one early.
    """
    for turn, line in enumerate(starts):
        assert line.at >= since + turn / per_second - CLOCK_S


def test_never_more_at_once_than_there_are_permits(limited: Scene) -> None:
    assert isinstance(limited, Limited)
    keys = limited.keys("two", 30)
    results = limited.send_all("two_at_once", [(key,) for key in keys])
    assert [result.get(timeout=DEADLINE_S) for result in results] == keys
    assert limited.most_at_once(keys) <= 2
    assert limited.journal.extra_runs() == 0


def test_a_rate_holds_over_all_workers(limited: Scene) -> None:
    assert isinstance(limited, Limited)
    keys, since = limited.keys("five", 9), time.time()
    results = limited.send_all("five_a_second", [(key,) for key in keys])
    assert [result.get(timeout=DEADLINE_S) for result in results] == keys
    check_rate(limited.starts_of(keys), 5, since)


def test_both_limits_of_one_task(limited: Scene) -> None:
    assert isinstance(limited, Limited)
    keys, since = limited.keys("both", 5), time.time()
    results = limited.send_all("both", [(key,) for key in keys])
    assert sorted(result.get(timeout=DEADLINE_S) for result in results) == keys
    assert limited.most_at_once(keys) == 1
    check_rate(limited.starts_of(keys), 5, since)


def test_limits_per_key(limited: Scene) -> None:
    assert isinstance(limited, Limited)
    gate, names = limited.gate(), [("a", limited.key("a1")), ("a", limited.key("a2")), ("b", limited.key("b1"))]
    results = [limited.send("one_per_tenant", tenant, key, gate.path) for tenant, key in names]
    (_, first), (_, second), (_, other) = names
    limited.until(lambda: limited.starts_of([first, second]) and limited.starts_of([other]), "one of each has begun")
    assert len(limited.starts_of([first, second])) == 1  # whichever of the two workers was the first to ask
    gate.open()
    assert [result.get(timeout=DEADLINE_S) for result in results] == [key for _, key in names]
    assert not limited.dead_letters()


def test_rates_per_key(limited: Scene) -> None:
    assert isinstance(limited, Limited)
    ones, others, since = limited.keys("one", 4), limited.keys("other", 4), time.time()
    results = limited.send_all("five_per_tenant", [(key,) for key in ones], kwargs={"tenant": "one"})
    results += limited.send_all("five_per_tenant", [(key,) for key in others], kwargs={"tenant": "other"})
    for result in results:
        result.get(timeout=DEADLINE_S)
    check_rate(limited.starts_of(ones), 5, since)
    check_rate(limited.starts_of(others), 5, since)


def test_a_rate_of_each_workers_own(limited: Scene) -> None:
    assert isinstance(limited, Limited)
    keys = limited.keys("own", 10)
    results = limited.send_all("own_rate", [(key,) for key in keys])
    assert sorted(result.get(timeout=DEADLINE_S) for result in results) == sorted(keys)


def test_what_waits_for_its_rate_stands_in_nobodys_way(limited: Scene) -> None:
    many = limited.keys("many", 101)
    results = limited.send_all("once_an_hour", [(key,) for key in many])
    key = limited.key("unlimited")
    assert limited.send("unlimited", key).get(timeout=DEADLINE_S) == key
    assert sum(limited.journal.starts(one) for one in many) <= 1
    for result in results:
        result.revoke()
    limited.until(lambda: all(result.ready() for result in results), "the others are revoked")


@pytest.mark.parametrize("how", ["success", "failure", "reject", "retry", "crash", "hard limit"])
def test_a_permit_comes_back_whatever_the_end(limited: Scene, how: str) -> None:
    first, second = limited.key("first"), limited.key("second")
    limited.send("ends", how, first)
    after = limited.send("ends", "success", second)
    assert after.get(timeout=DEADLINE_S) == second
    if how in ("retry", "crash"):
        limited.until(lambda: limited.journal.ends(first), "it has run again")


def test_a_permit_comes_back_when_its_task_is_terminated(limited: Scene) -> None:
    first, second = limited.key("first"), limited.key("second")
    terminated = limited.send("ends", "hard limit", first)
    limited.until_started(first)
    after = limited.send("ends", "success", second)
    terminated.revoke(terminate=True)
    assert after.get(timeout=DEADLINE_S) == second


def test_permits_of_tasks_that_are_acknowledged_early(limited: Scene) -> None:
    assert isinstance(limited, Limited)
    keys = limited.keys("early", 6)
    results = limited.send_all("early", [(key,) for key in keys])
    assert sorted(result.get(timeout=DEADLINE_S) for result in results) == keys
    assert limited.most_at_once(keys) == 1


def test_what_waits_expires_and_can_be_revoked(limited: Scene) -> None:
    hurried = [limited.send("hourly", limited.key(f"hurried-{number}"), expires=1.0) for number in range(2)]
    patient = [limited.send("hourly", limited.key(f"patient-{number}")) for number in range(2)]
    limited.until(lambda: all(result.ready() for result in hurried), "they have run or expired")
    with pytest.raises(TaskRevokedError, match="expired"):
        for result in hurried:
            result.get(timeout=DEADLINE_S)
    for result in patient:
        result.revoke()
    limited.until(lambda: all(result.ready() for result in patient), "they have run or are revoked")


def test_a_rate_set_at_run_time_holds_for_all_workers(limited: Scene) -> None:
    assert isinstance(limited, Limited)
    keys, since = limited.keys("told", 4), time.time()
    results = limited.send_all("slow_until_told", [(key,) for key in keys])
    limited.until(lambda: limited.starts_of(keys), "one has begun")
    limited.app.control.rate_limit("limits.slow_until_told", "5/s")
    try:
        assert sorted(result.get(timeout=DEADLINE_S) for result in results) == keys
        check_rate(limited.starts_of(keys), 5, since)
    finally:
        limited.app.control.reset_rate_limit("limits.slow_until_told")


# -- workers that end --------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(place: Place, guard: Guard, limit_settings: dict[str, Any]) -> Iterator[Limited]:
    """A scene with a queue and workers of its own."""
    place.app.conf.update(limit_settings)
    scene = Limited(place, guard)
    yield scene
    scene.close()


def test_permits_of_a_killed_worker_come_back(alone: Limited, limit_settings: dict[str, Any]) -> None:
    first = alone.worker("-c", "3", settings=limit_settings)
    gate, keys = alone.gate(), alone.keys("held", 5)
    results = [alone.send("two_held", key, gate.path) for key in keys]
    alone.until_started(*keys[:2])
    alone.worker("-c", "3", settings=limit_settings)
    first.kill()
    # Whoever comes first, those that were running or those that wait: never more than two of them.
    alone.until(lambda: len(alone.journal.of(START)) == 4, "two begin in the other worker")
    assert [result.ready() for result in results] == [False] * 5
    gate.open()
    assert [result.get(timeout=DEADLINE_S) for result in results] == keys
    assert len(alone.journal.of(START)) == 7
    alone.until_empty()


def test_a_stopping_worker_leaves_its_permits_to_others(alone: Limited, limit_settings: dict[str, Any]) -> None:
    first = alone.worker("-c", "3", "--grace", "0.2", settings=limit_settings)
    gate, keys = alone.gate(), alone.keys("held", 4)
    results = [alone.send("two_held", key, gate.path) for key in keys]
    alone.until_started(*keys[:2])
    assert first.terminate() == 0
    gate.open()
    alone.worker("-c", "3", settings=limit_settings)
    assert [result.get(timeout=DEADLINE_S) for result in results] == keys
    alone.until_empty()
    assert alone.journal.extra_runs() == 0


# -- RabbitMQ ----------------------------------------------------------------------------------------------------------


def test_without_a_place_to_agree_a_worker_refuses_to_start(place: Place, guard: Guard) -> None:
    if place.name != "rabbitmq":
        pytest.skip("here the broker is that place")
    scene = Limited(place, guard)
    try:
        worker = scene.worker("-c", "1", ready=False)
        assert worker.wait() != 0
        assert "of task 'limits." in worker.log
        assert "set coordination_url to a Redis" in worker.log
    finally:
        scene.close()


def test_while_nobody_can_agree_limited_tasks_wait_and_others_run(
    place: Place, guard: Guard, own_redis: PrivateRedis
) -> None:
    if place.name != "rabbitmq":
        pytest.skip("here the broker would be away, too")
    scene = Limited(place, guard)
    try:
        worker = scene.worker("-c", "2", settings={"coordination_url": own_redis.url})
        own_redis.kill()
        waits, runs = scene.key("waits"), scene.key("runs")
        waiting = scene.send("two_at_once", waits)
        for number in range(3):
            assert scene.send("unlimited", f"{runs}{number}").get(timeout=DEADLINE_S)
        scene.until(lambda: "limits can't be agreed on" in worker.log, "the log tells")
        assert scene.journal.starts(waits) == 0
        own_redis.start()
        assert waiting.get(timeout=DEADLINE_S) == waits
        assert worker.log.count("limits can't be agreed on") == 1
        assert "limits can be agreed on again" in worker.log
    finally:
        scene.close()
