"""The result store goes away while tasks end."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Final

from celeriac.torture.places import RABBITMQ, REDIS
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.servers.redis import PrivateRedis
from celeriac.torture.servers.redis_call import redis_call
from celeriac.torture.stage import Stage

BUFFER_MAX: Final = 100
"""Finished tasks that the worker keeps at most; its default would need tens of thousands of tasks to be reached."""
AHEAD: Final = 64
"""What it may have claimed beyond that when it stops claiming."""
BACK_S: Final = 5.0
"""So soon after the store's return everything has to be settled that waited."""
KEYS: Final = "celery-task-meta-*"


def _away(full_s: float) -> Callable[[Stage], Sequence[Check]]:
    """Return a scenario in which the store is away for so long; 10 s in short runs, and longer with a scale above 1."""

    def store_away(stage: Stage) -> Sequence[Check]:
        away_s = max(10.0, full_s * min(5.0, stage.scale))
        store = _store(stage)
        stage.settings = {"worker_settle_buffer_max": BUFFER_MAX}
        worker = stage.start_worker()
        before = {process.pid for process in worker.family()}
        count = 300
        stage.send(count, 0.02)
        stage.wait_part_done(0.1, count)
        store.kill()
        time.sleep(away_s)
        left = stage.held()
        waiting = len(stage.begun()) - (len(stage.accepted()) - left)
        store.start()
        back_s = stage.wait(lambda: stage.held() < left, 60)
        stage.wait_done(120)
        drained = stage.wait(stage.drained, 60) is not None
        results = _results(store.port)
        lost = stage.ended() - results
        gone = before - {process.pid for process in worker.family()}
        tally = stage.tally()
        return [
            Check(f"{len(lost)} of {len(stage.ended())} results lost in {away_s:.0f} s", not lost),
            Check(
                f"it stopped claiming with {waiting} of {left} begun; its limit is {BUFFER_MAX}",
                waiting <= BUFFER_MAX + AHEAD and waiting < left,
            ),
            Check(f"the lease stayed: {tally.begun_again} begun again", tally.begun_again == 0),
            Check("what waited was settled", back_s is not None and drained),
            Check(f"from {back_s or 999:.1f} s after its return", (back_s or 999) <= BACK_S, timed=True),
            Check(f"no process died{f' (but: {gone})' if gone else ''}", not gone),
        ]

    return store_away


def _store(stage: Stage) -> PrivateRedis:
    """Return a store apart from the broker."""
    if stage.place.name == RABBITMQ:
        assert isinstance(stage.place.store, PrivateRedis)
        return stage.place.store
    store = stage.enter(PrivateRedis())
    stage.backend_url = store.url
    return store


def _results(port: int) -> set[str]:
    """Return the keys of the tasks whose results are in a store; each task returns its own."""
    found: set[str] = set()
    cursor = "0"
    while True:
        cursor, names = redis_call(port, "SCAN", cursor, "MATCH", KEYS, "COUNT", 1000)
        if names:
            for text in redis_call(port, "MGET", *names):
                with contextlib.suppress(ValueError, TypeError, KeyError):  # no result: then it is missing
                    found.add(json.loads(text)["result"])
        if cursor == "0":
            return found


SCENARIOS = (
    Scenario(
        "store-away",
        "result store down while 300 tasks end",
        "no result lost, claiming pauses at the buffer's limit, the lease stays, all is settled when it returns",
        (REDIS, RABBITMQ),
        _away(60.0),
        duplicates=False,
        in_tests=(REDIS,),
    ),
)
