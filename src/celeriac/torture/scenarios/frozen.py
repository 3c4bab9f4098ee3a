"""A worker stands still for longer than its lease, and goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from typing import Any

from celeriac import Celeriac
from celeriac.canvas import chord
from celeriac.torture.client import client_of
from celeriac.torture.journal import END, START
from celeriac.torture.orders import ACCEPTED
from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.processes import Worker
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.stage import Stage

FROZEN_S = {REDIS: 30.0, RABBITMQ: 45.0, SQLITE: 30.0}
SHORT_FROZEN_S = {REDIS: 13.0, RABBITMQ: 35.0, SQLITE: 13.0}
TAKEN_OVER_S = {REDIS: 15.0, RABBITMQ: 35.0, SQLITE: 15.0}
"""RabbitMQ gives messages back when it has heard nothing for two heartbeats (10 s), with the next look, and with a margin."""
MEMBERS = 8
TASK_S = 3.0
NEVER_S = 999.0


def freeze_tree(stage: Stage) -> Sequence[Check]:
    """Freeze all processes of a worker."""
    return _freeze(stage, whole=True)


def freeze_core(stage: Stage) -> Sequence[Check]:
    """Freeze the core alone: its executors go on, and their ends come too late."""
    return _freeze(stage, whole=False)


def _freeze(stage: Stage, *, whole: bool) -> Sequence[Check]:
    place = stage.place.name
    frozen_s = (FROZEN_S if stage.scale == 1 else SHORT_FROZEN_S)[place]
    workers = [stage.start_worker(MEMBERS // 2), stage.start_worker(MEMBERS // 2)]
    with client_of(stage) as app:
        results, body, body_key = _send_chord(stage, app)
        stage.wait(lambda: stage.begun() >= set(results), 30)
        first, second = sorted(workers, key=lambda worker: -len(_runs(stage, worker) & set(results)))
        _hold(first, whole=whole)
        at = time.time()
        held = _runs(stage, first) & set(results)
        stage.in_flight += len(held)
        taken_s = stage.time_recovery(at, held, frozen_s + 30)
        stage.wait(lambda: time.time() >= at + frozen_s, frozen_s + 60)
        first.thaw()
        thawed_at = time.time()
        stage.wait_done(90)
        stage.wait(lambda: time.time() >= thawed_at + 5, 30)  # for what comes late
        stored = {key: _value(result) for key, result in results.items()}
        counted = body.get(timeout=30) if body.ready() else None
    in_force = {key: stage.journal.of(START, key)[-1].pid for key in results}
    wrong = [key for key in results if stored[key] != [key, in_force[key]]]
    bodies = stage.journal.starts(body_key)
    code = _stop(second)
    stage.send(10)
    stage.wait_done(30)
    works = stage.drained() or stage.wait(stage.drained, 30) is not None
    return [
        Check(
            f"{len(held)} runs held up, taken over after {taken_s or NEVER_S:.1f} s",
            (taken_s or NEVER_S) <= TAKEN_OVER_S[place],
            timed=True,
        ),
        Check(f"all {len(held)} were taken over", bool(held) and all(stage.journal.starts(key) == 2 for key in held)),
        Check(f"stored results of runs that were not in force: {len(wrong)}", not wrong),
        Check(f"the chord's body ran {bodies} times and counted {counted} members", (bodies, counted) == (1, MEMBERS)),
        Check("the thawed worker goes on", first.running and works and code == 0),
    ]


def _send_chord(stage: Stage, app: Celeriac) -> tuple[dict[str, Any], Any, str]:
    """Send a chord and return its members' results by key, its body's, and the body's key."""
    keys = stage.keys(MEMBERS)
    (body_key,) = stage.keys(1)
    header = [app.signature("member", (key, TASK_S)) for key in keys]
    sent = chord(header, app.signature("collect", kwargs={"key": body_key})).apply_async()
    stage.note(ACCEPTED, *keys, body_key)
    return dict(zip(keys, sent.parent.results, strict=True)), sent, body_key


def _runs(stage: Stage, worker: Worker) -> set[str]:
    """Return the keys that a worker runs now."""
    pids = {process.pid for process in worker.executors()}
    latest = {line.key: line for line in stage.journal.lines if line.event in (START, END)}
    return {line.key for line in latest.values() if line.event == START and line.pid in pids}


def _hold(worker: Worker, *, whole: bool) -> None:
    """Stop the clock of all its processes, or of its core."""
    if whole:
        worker.freeze()
    else:
        worker.main.suspend()


def _value(result: Any) -> Any:
    return result.result if result.ready() else None


def _stop(worker: Worker) -> int | None:
    worker.process.send_signal(signal.SIGTERM)
    return worker.wait(60)


SCENARIOS = (
    Scenario(
        "freeze",
        "a worker frozen past its lease, then continued",
        "taken over in 15 s (RabbitMQ: two heartbeats); what it does later is refused: one result, one count; it works on",
        (REDIS, RABBITMQ, SQLITE),
        freeze_tree,
    ),
    Scenario(
        "freeze-core",
        "the same, its executors going on",
        "taken over in 15 s (RabbitMQ: two heartbeats); what it does later is refused: one result, one count; it works on",
        (REDIS, RABBITMQ, SQLITE),
        freeze_core,
    ),
)
