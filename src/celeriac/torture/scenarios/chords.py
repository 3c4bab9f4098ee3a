"""Chords whose members, body or whole worker are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Sequence

from msgspec import Struct

from celeriac import Celeriac
from celeriac.canvas import chord
from celeriac.torture.client import client_of
from celeriac.torture.journal import END, START
from celeriac.torture.orders import ACCEPTED
from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.processes import Worker
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.stage import Stage

END_S = 20.0
"""So soon after the last kill the chord has to have come to its end."""
DEADLINE_S = 90.0
MEMBERS = 4
MEMBER_S, BODY_S = 0.3, 0.5
SLOTS = 4


class Sent(Struct):
    """One chord."""

    members: list[str]
    body: str
    errback: str


def kill_chords(stage: Stage) -> Sequence[Check]:
    """Kill executors and whole workers while members run, while they are counted, and while bodies run; and have members that kill."""
    many = stage.scaled(5, least=2)
    with client_of(stage) as app:
        worker = stage.start_worker(SLOTS)
        checks = []

        sent = _send(stage, app, many)
        _kill_executors_of(stage, {key for one in sent for key in one.members})
        checks.append(_came_to_its_end(stage, "executors of members", sent, time.time()))

        sent = _send(stage, app, many)
        _kill_executors_of(stage, {one.body for one in sent})
        checks.append(_came_to_its_end(stage, "executors of bodies", sent, time.time()))

        for what, part in (("a worker with its members running", 0.3), ("a worker with chords complete", 0.7)):
            sent = _send(stage, app, many)
            keys = {key for one in sent for key in (*one.members, one.body)}
            stage.wait(lambda keys=keys, part=part: len(stage.ended() & keys) >= part * len(keys), DEADLINE_S)  # type: ignore[misc]
            worker, killed_at = _replace(stage, worker)
            checks.append(_came_to_its_end(stage, what, sent, killed_at))

        sent = _send(stage, app, many)
        bodies = {one.body for one in sent}
        stage.wait(lambda: stage.begun() & bodies, DEADLINE_S)
        worker, killed_at = _replace(stage, worker)
        checks.append(_came_to_its_end(stage, "a worker with a body running", sent, killed_at))

        sent = _send(stage, app, many, poisonous=True)
        checks.append(_failed(stage, sent, time.time()))
    return [check for some in checks for check in some]


def _send(stage: Stage, app: Celeriac, many: int, *, poisonous: bool = False) -> list[Sent]:
    """Send chords; in a poisonous one the first member kills its executor each time."""
    sent = []
    for _ in range(many):
        *members, body, errback = stage.keys(MEMBERS + 2)
        header = [app.signature("member", (key, MEMBER_S)) for key in members]
        if poisonous:
            header[0] = app.signature("poison", (members[0], 0.0))
        ending = app.signature("collect", kwargs={"key": body, "seconds": BODY_S})
        ending.link_error(app.signature("mourn", kwargs={"key": errback}))
        chord(header, ending).apply_async()
        # What is not meant to come to its end is not promised, either.
        stage.note(ACCEPTED, *((*members[1:], errback) if poisonous else (*members, body)))
        sent.append(Sent(members, body, errback))
    return sent


def _kill_executors_of(stage: Stage, keys: Collection[str]) -> None:
    """Kill the executors of two of these runs, one after the other."""
    for _ in range(2):
        stage.wait(lambda: _running_in(stage, keys), DEADLINE_S)
        for pid in _running_in(stage, keys)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            stage.in_flight += 1
        time.sleep(0.1)  # so that the next one is another


def _running_in(stage: Stage, keys: Collection[str]) -> list[int]:
    """Return the processes in which one of these runs for the first time."""
    mine = [line for line in stage.journal.lines if line.key in keys]
    touched: dict[str, int] = {}
    for line in mine:
        if line.event in (START, END):
            touched[line.key] = touched.get(line.key, 0) + 1
    return [line.pid for line in mine if line.event == START and touched[line.key] == 1]


def _replace(stage: Stage, worker: Worker) -> tuple[Worker, float]:
    """Kill a worker with all its processes, start another one, and return that and when the first was killed (Unix seconds)."""
    stage.interrupted()
    stage.in_flight += SLOTS  # what has ended and is not acknowledged: about one in each slot
    killed_at = time.time()
    worker.kill()
    return stage.start_worker(SLOTS), killed_at


def _came_to_its_end(stage: Stage, what: str, sent: Sequence[Sent], killed_at: float) -> list[Check]:
    """Check that each body came to its end once, and no errback was called."""
    bodies = [one.body for one in sent]
    stage.wait(lambda: stage.ended() >= set(bodies), DEADLINE_S)
    ends = [stage.journal.ends(body) for body in bodies]
    last = max((line.at for body in bodies for line in stage.journal.of(END, body)), default=killed_at + DEADLINE_S)
    errbacks = sum(stage.journal.starts(one.errback) for one in sent)
    took_s = last - killed_at
    stage.recovery_s = max(stage.recovery_s or 0.0, took_s)
    return [
        Check(f"{what}: bodies {ends}, {errbacks} errbacks", set(ends) == {1} and not errbacks),
        Check(f"{what}: {took_s:.1f} s", took_s <= END_S, timed=True),
    ]


def _failed(stage: Stage, sent: Sequence[Sent], sent_at: float) -> list[Check]:
    """Check that each errback was called once, and no body began."""
    errbacks = [one.errback for one in sent]
    stage.wait(lambda: stage.ended() >= set(errbacks), DEADLINE_S)
    calls = [stage.journal.starts(key) for key in errbacks]
    bodies = sum(stage.journal.starts(one.body) for one in sent)
    last = max((line.at for key in errbacks for line in stage.journal.of(END, key)), default=sent_at + DEADLINE_S)
    return [
        Check(f"members that kill: errbacks {calls}, {bodies} bodies", set(calls) == {1} and not bodies),
        Check(f"members that kill: {last - sent_at:.1f} s", last - sent_at <= END_S, timed=True),
    ]


SCENARIOS = (
    Scenario(
        "kill-chords",
        "chord members, bodies or whole workers killed",
        "body or errback exactly once, within 20 s",
        (REDIS, RABBITMQ, SQLITE),
        kill_chords,
    ),
)
