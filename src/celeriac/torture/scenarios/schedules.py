"""Schedulers and workers are killed while ticks come: none may be missed, and none sent twice."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

from celeriac import Celeriac
from celeriac.beat import Schedule
from celeriac.beat.calls import id_of_tick
from celeriac.beat.places import find_place
from celeriac.torture.journal import END, START, record
from celeriac.torture.orders import ACCEPTED
from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.processes import Worker
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.stage import Stage
from celeriac.torture.systems.celeriac_schedule import ScheduleSystem

TICKS: Final = 5000
INTERVALS_S: Final = {"tenth": 0.1, "other tenth": 0.1, "eighth": 0.125, "fifth": 0.2}
SCHEDULERS: Final = 2
WORKERS: Final = 3
TASK_S: Final = 0.01
LEASE_S: Final = 2.0
"""Of claims on ticks, so that what a dead scheduler had claimed is sent while the scenario lasts."""
WORKER_LEASE_S: Final = 6.0
"""Longer than a machine that is busy with starting programs may keep a worker waiting."""
PAUSE_S: Final = (0.5, 2.0)
"""Between two kills, at least and at most."""
UNSETTLED_S: Final = 2.0
"""What ended so shortly before its worker was killed may not have been acknowledged."""
PATIENCE_S: Final = 120.0
SENT: Final = re.compile(r"Sending due task .*\[([\w-]+)\]")
"""What a scheduler logs when a tick is sent: the task id."""


def schedules(stage: Stage, own_store: bool) -> Sequence[Check]:
    """Kill schedulers and workers by a plan that the seed makes, until so many ticks have come."""
    stage.system = system = ScheduleSystem()
    stage.settings |= {
        "beat_schedule": {
            name: {"task": "strike", "schedule": seconds, "args": [name, TASK_S], "misfire": "all", "expires": None}
            for name, seconds in INTERVALS_S.items()
        },
        "beat_lease_s": LEASE_S,
        "worker_lease_s": WORKER_LEASE_S,
        "worker_heartbeat_s": WORKER_LEASE_S / 6,
    }
    if own_store:
        stage.settings["beat_store_url"] = f"sqlite:///{stage.directory}/schedule.db"
    wanted = stage.scaled(TICKS)
    workers = [stage.start_worker(1) for _ in range(WORKERS)]
    schedulers = [stage.start_scheduler(system.scheduler_command()) for _ in range(SCHEDULERS)]
    hit: set[str] = set()
    kills = {"schedulers": 0, "workers": 0}
    while len(stage.begun()) < wanted:
        stage.wait(lambda: len(stage.begun()) >= wanted, stage.random.uniform(*PAUSE_S))
        if stage.random.random() < 0.6:
            index = stage.random.randrange(SCHEDULERS)
            schedulers[index].kill()
            schedulers[index] = stage.start_scheduler(system.scheduler_command())
            kills["schedulers"] += 1
        else:
            index = stage.random.randrange(WORKERS)
            hit |= _kill(stage, workers[index])
            workers[index] = stage.start_worker(1, ready=False)
            kills["workers"] += 1
        stage.say(f"{len(stage.begun())} of {wanted} ticks, {kills['schedulers']} + {kills['workers']} kills")
    for scheduler in schedulers:  # one after the other, so that the last one takes over what the first have left
        stage.wait(lambda: False, LEASE_S)
        scheduler.terminate()
        scheduler.wait(PATIENCE_S)
    stage.in_flight = len(hit)
    expected = _expected(stage)
    for key in expected:
        record(str(stage.directory / "journal"), ACCEPTED, key)
    stage.wait_done(PATIENCE_S)
    return _checks(stage, expected, hit, kills, in_one_step=not own_store and stage.place.name != RABBITMQ)


def _kill(stage: Stage, worker: Worker) -> set[str]:
    """Kill a worker, and return the ticks whose runs it may have left unsettled."""
    pids = {process.pid for process in worker.family()}
    worker.kill()
    at = time.time()
    ended = {line.key: line.at for line in stage.journal.of(END)}
    mine = {line.key for line in stage.journal.of(START) if line.pid in pids}
    return {key for key in mine if ended.get(key, at) > at - UNSETTLED_S}


def _expected(stage: Stage) -> set[str]:
    """Return the keys of all ticks that have come, by what the schedulers remember: how many, and when the latest was."""
    settings: dict[str, Any] = dict(stage.settings)
    found: set[str] = set()
    app = Celeriac("torture", broker=stage.broker_url, backend=stage.backend_url, set_as_current=False, **settings)
    with contextlib.closing(app), Schedule(app) as schedule:
        board = find_place(app).name
        for line in schedule.lines():
            assert line.state is not None, f"{line.entry.name} was never seen"
            name, seconds = line.entry.name, INTERVALS_S[line.entry.name]
            for number in range(line.state.runs):
                tick = line.state.last_tick - timedelta(seconds=seconds) * number
                found.add(f"{name} {id_of_tick(board, name, tick)}")
    return found


def _checks(
    stage: Stage, expected: set[str], hit: set[str], kills: dict[str, int], *, in_one_step: bool
) -> list[Check]:
    seen = stage.begun()
    again = {key for key in seen if stage.journal.starts(key) > 1}
    unexplained = again - hit
    said = Counter(SENT.findall("".join(scheduler.log for scheduler in stage.schedulers)))
    doubled = said.total() - len(said)
    # Between publishing and noting, elsewhere: the tick is sent once more, under the same id.
    most = 0 if in_one_step else kills["schedulers"]
    return [
        Check(f"{len(expected)} ticks, {len(expected - seen)} missed", not expected - seen),
        Check(f"{len(seen - expected)} sent beside the schedule", not seen - expected),
        Check(f"{doubled} of {len(said)} sent twice, as schedulers say", doubled <= most),
        # How soon what has ended is acknowledged depends on the machine.
        Check(f"{len(unexplained)} begun twice for no reason", len(unexplained) <= most, timed=True),
        Check(f"{kills['schedulers']} schedulers and {kills['workers']} workers killed", sum(kills.values()) > 0),
    ]


def _scenario(name: str, own_store: bool, places: Sequence[str], in_tests: Sequence[str]) -> Scenario:
    where = " with a store of their own" if own_store else ""
    return Scenario(
        name,
        f"schedulers and workers killed while ticks come{where}",
        "no tick missed, none sent twice" + (" but under its own id" if own_store else ""),
        places,
        partial(schedules, own_store=own_store),
        in_tests=in_tests,
    )


SCENARIOS = (
    _scenario("schedules", False, (REDIS, RABBITMQ, SQLITE), (REDIS,)),
    _scenario("schedules-store", True, (RABBITMQ,), ()),
)
