"""Processes are killed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.stage import Stage

EVERYWHERE = (REDIS, RABBITMQ, SQLITE)
RECOVERY_S = {REDIS: 15.0, RABBITMQ: 3.0, SQLITE: 15.0}


def kill_tree(stage: Stage) -> Sequence[Check]:
    """Kill a whole worker at work, and start another at once."""
    count = stage.scaled(500, least=60)
    worker = stage.start_worker()
    stage.send(count)
    stage.wait_part_done(0.2, count)
    worker.kill()
    at = time.time()
    interrupted = stage.interrupted()
    stage.start_worker()
    again_s = stage.time_recovery(at, interrupted)
    stage.wait_done(90)
    most_s = RECOVERY_S[stage.place.name]
    tally = stage.tally()
    return [
        Check(f"{tally.begun_again} begun again, {len(interrupted)} in flight", tally.begun_again <= len(interrupted)),
        Check(f"in flight begun again after {again_s or 999:.1f} s", (again_s or 999) <= most_s, timed=True),
    ]


SCENARIOS = (
    Scenario(
        "kill-tree",
        "SIGKILL the whole worker, start another",
        "0 lost, only what was in flight runs again; back in 15 s (RabbitMQ 3 s)",
        EVERYWHERE,
        kill_tree,
        for_all=True,
    ),
)
