"""Processes are killed: a whole worker, executors one by one, and executors by the tasks that run in them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from celeriac import Celeriac
from celeriac.exceptions import OperationalError
from celeriac.torture.client import client_of, dead_letters
from celeriac.torture.journal import END, START, Line
from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.processes import Worker
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.stage import Stage
from celeriac.torture.systems.celeriac_kinds import KindsSystem

EVERYWHERE = (REDIS, RABBITMQ, SQLITE)
RECOVERY_S = {REDIS: 15.0, RABBITMQ: 3.0, SQLITE: 15.0}
REQUEUE_S = 2.0
NEVER_S = 999.0
CRASH_LIMIT = 3
CRASH_PAUSE_S = 5.0
"""Before the run after the second crash."""
RATE_PART = 0.9
HOWS = ("kill", "segfault", "exit")


def kill_tree(stage: Stage) -> Sequence[Check]:
    """Kill a whole worker at work, and start another at once."""
    return _kill_tree(stage, stage.scaled(500, least=60), 0.02)


def kill_tree_long(stage: Stage) -> Sequence[Check]:
    """The same with tasks of seconds."""
    return _kill_tree(stage, stage.scaled(20, least=6), 3.0 if stage.scale == 1 else 1.0)


def _kill_tree(stage: Stage, count: int, seconds: float) -> Sequence[Check]:
    worker = stage.start_worker()
    stage.send(count, seconds)
    stage.wait_part_done(0.2, count)
    worker.kill()
    at = time.time()
    interrupted = stage.interrupted(unsettled=True)
    stage.start_worker()
    again_s = stage.time_recovery(at, interrupted)
    stage.wait_done(90)
    most_s = RECOVERY_S[stage.place.name] + seconds  # another one may have begun just before it came back
    tally = stage.tally()
    return [
        Check(f"{tally.begun_again} begun again, {tally.in_flight} in flight", tally.begun_again <= tally.in_flight),
        Check(f"in flight begun again after {again_s or NEVER_S:.1f} s", (again_s or NEVER_S) <= most_s, timed=True),
    ]


# -- executors, one by one --------------------------------------------------------------------------------------------


def kill_executors(stage: Stage) -> Sequence[Check]:
    """Kill the executor of a running task, again and again, each time that of a task which was never hit."""
    kills = 15 if stage.system.name == "celeriac" else 5  # who loses what ran there is waited for each time
    return _kill_executors(stage, "work", 3, (), stage.scaled(kills, least=3), 1.0)


def kill_thread_executor(stage: Stage) -> Sequence[Check]:
    """Kill the process in which several threads run tasks."""
    stage.system = KindsSystem()
    return _kill_executors(stage, "work_thread", 1, ("--threads", "4"), stage.scaled(5, least=2), 1.0)


def kill_async_executor(stage: Stage) -> Sequence[Check]:
    """Kill the process in which several coroutines run."""
    stage.system = KindsSystem()
    return _kill_executors(stage, "work_async", 1, ("--async", "4"), stage.scaled(5, least=2), 1.0)


def _kill_executors(
    stage: Stage, task: str, concurrency: int, options: Sequence[str], kills: int, seconds: float
) -> Sequence[Check]:
    worker = stage.start_worker(concurrency, *options)
    restarts = 0
    # As many as it can just do, because what is queued again stands behind what is queued already.
    keys, producer = stage.begin_sending(kills * 5, seconds, task, pause_s=seconds / 2.5)
    hit: set[str] = set()
    slowest_s = 0.0
    while len(hit) < kills:  # one that ends as it is to be hit does not count
        if stage.wait(lambda worker=worker, hit=hit: _living(stage, worker, hit), 30) is None:  # type: ignore[misc]
            break
        found = _living(stage, worker, hit)
        if not found:
            continue
        pid = stage.random.choice(found).pid
        at = time.time()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        victims = {line.key for line in _running(stage) if line.pid == pid and line.at < at + 0.2}
        stage.in_flight += len(victims)
        slowest_s = max(slowest_s, stage.time_recovery(at, victims, 30) or NEVER_S)
        hit |= victims
        # Those that were hit a second time would wait for 5 s.
        stage.wait(lambda victims=victims: not victims - stage.ended(), 30)  # type: ignore[misc]
        if not worker.running:
            worker = stage.start_worker(concurrency, *options)
            restarts += 1
    stage.finish_sending(producer)
    stage.wait_done(90)
    again = {key for key in keys if stage.journal.starts(key) > 1}
    return [
        Check(f"{len(again)} begun again, {len(hit)} were hit", again == hit),
        Check(f"each of them once, after {slowest_s:.1f} s at the longest", slowest_s <= REQUEUE_S, timed=True),
        Check(f"{kills} executors killed", len(hit) >= kills),
        Check(f"the worker was started again {restarts} times", restarts == 0),
    ]


def _living(stage: Stage, worker: Worker, but: set[str]) -> list[Line]:
    """Return the starts of the runs that are under way in executors of a worker."""
    executors = {process.pid for process in worker.executors()}
    return [line for line in _running(stage, but) if line.pid in executors]


def _running(stage: Stage, but: Sequence[str] | set[str] = ()) -> list[Line]:
    """Return the starts of the runs that are under way."""
    latest = {line.key: line for line in stage.journal.lines if line.event in (START, END)}
    return [line for line in latest.values() if line.event == START and line.key not in but]


# -- executors, by their tasks ----------------------------------------------------------------------------------------


def poison(stage: Stage) -> Sequence[Check]:
    """Run tasks that kill their process each time among good ones, and compare with the good ones alone."""
    good, seconds = stage.scaled(200, least=60), 0.1
    stage.start_worker()
    stage.send(4, 0)
    stage.wait_done(30)
    alone = stage.send(good, seconds)
    stage.wait_done(90)
    with client_of(stage) as app:
        dead_letters(app)  # connected, before it counts
        among, producer = stage.begin_sending(good, seconds)
        poisons = {
            key: (how, _send_poison(app, key, how)) for key, how in zip(stage.keys(len(HOWS)), HOWS, strict=True)
        }
        stage.finish_sending(producer)
        stage.wait_done(90)
        told = {key: f"told-{key}" for key in poisons}
        stage.wait(lambda: not set(told.values()) - stage.ended(), 60)
        stage.wait(lambda: all(result.ready() for _, result in poisons.values()), 30)
        states = {how: (result.state, type(result.result).__name__) for how, result in poisons.values()}
        with contextlib.suppress(OperationalError):
            stage.wait(lambda: len(dead_letters(app)) >= len(poisons), 30)
        reasons = {letter.reason for letter in dead_letters(app)}
        letters = len(dead_letters(app))
    starts = {key: [line.at for line in stage.journal.of(START, key)] for key in poisons}
    counts = [len(at) for at in starts.values()]
    waited_s = min((at[2] - at[1] for at in starts.values() if len(at) > 2), default=0.0)
    errbacks = [stage.journal.starts(key) for key in told.values()]
    part = _rate(stage, among) / _rate(stage, alone)
    return [
        Check(f"poison ran {counts} times", set(counts) == {CRASH_LIMIT}),
        Check(f"the third time after {waited_s:.1f} s", waited_s >= CRASH_PAUSE_S - 0.1),
        Check(
            f"parked: {sorted(map(str, reasons))}",
            letters == len(poisons) and all("died 3 times" in str(reason) for reason in reasons),
        ),
        Check(f"failed: {states}", {state for state, _ in states.values()} == {"FAILURE"}),
        Check(f"errbacks called {errbacks} times", set(errbacks) == {1}),
        Check(f"the good ones kept {part:.0%} of their rate", part >= RATE_PART, timed=True),
    ]


def _send_poison(app: Celeriac, key: str, how: str) -> Any:
    errback = app.signature("mourn", kwargs={"key": f"told-{key}"})
    return app.signature("poison", (key, 0.0, how)).apply_async(link_error=errback)


def _rate(stage: Stage, keys: Sequence[str]) -> float:
    """Return how many of these tasks were done in a second."""
    wanted = set(keys)
    starts = [line.at for line in stage.journal.of(START) if line.key in wanted]
    ends = [line.at for line in stage.journal.of(END) if line.key in wanted]
    return len(wanted) / max(0.001, max(ends, default=0.0) - min(starts, default=0.0))


SCENARIOS = (
    Scenario(
        "kill-tree",
        "SIGKILL the whole worker, start another",
        "0 lost, only what was in flight runs again; back in 15 s (RabbitMQ 3 s)",
        EVERYWHERE,
        kill_tree,
        for_all=True,
        in_tests=(REDIS, RABBITMQ),
    ),
    Scenario(
        "kill-tree-long",
        "SIGKILL the whole worker, tasks of 3 s",
        "0 lost, only what was in flight runs again; back in 15 s (RabbitMQ 3 s)",
        EVERYWHERE,
        kill_tree_long,
        for_all=True,
    ),
    Scenario(
        "kill-executors",
        "SIGKILL executors one by one",
        "0 lost, only their task runs again, within 2 s",
        EVERYWHERE,
        kill_executors,
        for_all=True,
    ),
    Scenario(
        "kill-thread-executor",
        "SIGKILL the executor of threads",
        "0 lost, what ran in it runs again within 2 s, nothing else",
        EVERYWHERE,
        kill_thread_executor,
    ),
    Scenario(
        "kill-async-executor",
        "SIGKILL the executor of coroutines",
        "0 lost, what ran in it runs again within 2 s, nothing else",
        EVERYWHERE,
        kill_async_executor,
    ),
    Scenario(
        "poison",
        "tasks that kill their process each time, among 200 good ones",
        "3 crashes with back-off, then dead letter, failure and errback; the good ones keep 90 percent of their rate",
        EVERYWHERE,
        poison,
    ),
)
