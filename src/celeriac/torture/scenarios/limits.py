"""Tasks that last longer than they may."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import psutil
from msgspec import Struct

from celeriac import Celeriac
from celeriac.exceptions import CeleriacError, SoftTimeLimitExceeded, TimeLimitExceeded
from celeriac.torture.journal import START, Line
from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.processes import is_dead
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.stage import Stage
from celeriac.torture.systems.celeriac_kinds import KindsSystem
from celeriac.torture.systems.limits_tasks import HEEDED, SOFT, task_name

EVERYWHERE = (REDIS, RABBITMQ, SQLITE)

SOFT_S: Final = 1.0
HARD_S: Final = 2.0
LASTS_S: Final = 300.0
"""How long a task would last that nothing ends."""
SOFT_LATE_MAX_S: Final = {"process": 0.2, "thread": 0.5, "async": 0.2}
HARD_LATE_MAX_S: Final = 1.0
RECYCLED_MAX_S: Final = 5.0
SLOTS: Final = 4
NEIGHBOURS: Final = 2
NEIGHBOUR_S: Final = 8.0
"""Longer than any of the others lasts, so that each that is killed takes its neighbours with it."""
PATIENCE_S: Final = 60.0


class Way(Struct, frozen=True):
    """One way to be over time, and how that must end."""

    title: str
    deed: str
    soft: bool
    hard: bool
    ending: type[Exception] | None
    """None: it has heeded its soft limit."""


WAYS: Final = (
    Way("soft, caught", "heed", soft=True, hard=False, ending=None),
    Way("soft, not caught", "endure", soft=True, hard=False, ending=SoftTimeLimitExceeded),
    Way("soft, ignored, then hard", "ignore", soft=True, hard=True, ending=TimeLimitExceeded),
    Way("hard", "endure", soft=False, hard=True, ending=TimeLimitExceeded),
    Way("hard, in C code", "compute", soft=False, hard=True, ending=TimeLimitExceeded),
    Way("hard, in C code that stops all threads", "hold", soft=False, hard=True, ending=TimeLimitExceeded),
)
KILLED: Final = sum(way.ending is TimeLimitExceeded for way in WAYS)


def limits(stage: Stage, kind: str) -> Sequence[Check]:
    """Have tasks overstep their limits in every way, one after the other, beside neighbours that do nothing wrong."""
    options = {"process": (), "thread": ("--threads", str(SLOTS)), "async": ("--async", str(SLOTS))}[kind]
    stage.system = KindsSystem()
    worker = stage.start_worker(2, *options)
    neighbours: list[str] = []
    if kind != "process":
        neighbours = stage.send(NEIGHBOURS, seconds=NEIGHBOUR_S, task=task_name("endure", kind))
        stage.wait(lambda: stage.begun() >= set(neighbours), PATIENCE_S)
    checks: list[Check] = []
    with Celeriac("look", broker=stage.place.broker_url, backend=stage.place.backend_url, set_as_current=False) as app:
        for way in WAYS:
            stage.say(way.title)
            checks += _overstep(stage, app, kind, way, neighbours)
    stage.send(20, seconds=0, task=task_name("endure", kind))
    stage.wait_done(PATIENCE_S)
    if neighbours:
        runs = sum(line.key in neighbours for line in stage.journal.of(START))
        done = stage.ended() >= set(neighbours)
        checks.append(Check(f"{NEIGHBOURS} neighbours were begun {runs} times, uncounted, and came to their end", done))
    checks.append(Check("the worker lives", worker.running))
    return checks


def _overstep(stage: Stage, app: Celeriac, kind: str, way: Way, neighbours: Sequence[str]) -> list[Check]:
    task_id = str(uuid.uuid4())
    options: dict[str, Any] = {"task_id": task_id}
    options |= {"soft_time_limit": SOFT_S} if way.soft else {}
    options |= {"time_limit": HARD_S} if way.hard else {}
    (key,) = stage.send(1, seconds=LASTS_S, task=task_name(way.deed, kind), options=options)
    stage.not_to_end.add(key)
    if stage.wait(lambda: key in stage.begun(), PATIENCE_S) is None:
        return [Check(f"{way.title}: it has begun", holds=False)]
    start = stage.journal.of(START, key)[0]
    checks: list[Check] = []
    if way.ending is TimeLimitExceeded:
        late_s = _late_death(stage, start.pid, start.at + HARD_S)
        checks.append(_within(f"{way.title}: killed", late_s, HARD_LATE_MAX_S))
    checks.append(_ends_as(app, task_id, way))
    if way.deed in ("heed", "ignore"):
        felt = stage.journal.of(SOFT, key)
        late_s = felt[0].at - start.at - SOFT_S if felt else None
        checks.append(_within(f"{way.title}: told", late_s, SOFT_LATE_MAX_S[kind]))
    if way.ending is TimeLimitExceeded and neighbours:
        back_s = _neighbours_back(stage, neighbours, start)
        checks.append(_within(f"{way.title}: its neighbours run again", back_s, RECYCLED_MAX_S))
    runs = len(stage.journal.of(START, key))
    if runs > 1:
        checks.append(Check(f"{way.title}: it was begun {runs} times", holds=False))
    return checks


def _neighbours_back(stage: Stage, keys: Sequence[str], offender: Line) -> float | None:
    """Return how long after a task's hard limit those that ran beside it had begun again."""

    def again() -> dict[str, float]:
        lines = stage.journal.of(START)
        return {line.key: line.at for line in lines if line.key in keys and line.at > offender.at + HARD_S}

    if stage.wait(lambda: len(again()) == len(keys), PATIENCE_S) is None:
        return None
    return max(again().values()) - offender.at - HARD_S


def _late_death(stage: Stage, pid: int, due_at: float) -> float | None:
    """Return how long after its time a process was dead."""

    def dead() -> bool:
        try:
            return is_dead(psutil.Process(pid))
        except psutil.NoSuchProcess:
            return True

    return None if stage.wait(dead, PATIENCE_S) is None else time.time() - due_at


def _ends_as(app: Celeriac, task_id: str, way: Way) -> Check:
    try:
        result = app.AsyncResult(task_id).get(timeout=PATIENCE_S, propagate=False)
    except CeleriacError as error:
        return Check(f"{way.title}: its end is not known ({type(error).__name__})", holds=False)
    if way.ending is None:
        return Check(f"{way.title}: it ended as it wanted", result == HEEDED)
    return Check(f"{way.title}: it failed with {type(result).__name__}", isinstance(result, way.ending))


def _within(what: str, late_s: float | None, most_s: float) -> Check:
    if late_s is None:
        return Check(f"{what}: never", holds=False, timed=True)
    return Check(f"{what} {late_s:.2f} s late", late_s <= most_s, timed=True)


def _scenario(kind: str, title: str, goal: str) -> Scenario:
    in_tests = () if kind == "process" else (SQLITE,)
    return Scenario(f"limits-{kind}", title, goal, EVERYWHERE, partial(limits, kind=kind), in_tests=in_tests)


SCENARIOS = (
    _scenario(
        "process",
        "soft and hard limits, also in C code, in processes",
        "all enforced: soft within 0.2 s, hard within 1 s, with the right failure; the next tasks are fine",
    ),
    _scenario(
        "thread",
        "soft and hard limits, also in C code, in threads",
        "all enforced: soft within 0.5 s, hard within 1 s; the process is recycled in 5 s, neighbours uncounted",
    ),
    _scenario(
        "async",
        "soft and hard limits, also in C code, in coroutines",
        "all enforced: soft within 0.2 s, hard within 1 s; neighbours run again, uncounted",
    ),
)
