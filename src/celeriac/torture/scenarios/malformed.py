"""Malformed messages among good ones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from celeriac import Celeriac
from celeriac.core.message import DeadLetter
from celeriac.torture.journal import START
from celeriac.torture.malformed.case import MARK, Case, Target
from celeriac.torture.malformed.cases import all_cases
from celeriac.torture.malformed.put import put
from celeriac.torture.malformed.trial import GROWTH_MAX_BYTES, Memory, endure, not_parked, wrongly_run
from celeriac.torture.orders import QUEUE
from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.stage import Stage

STALL_S = 20.0
"""A good task that is not done after so long is held up."""
SMALL_BYTES = 500_000
"""What is larger is sent once, not a second time all together to the worker's successor."""
LETTERS = 1000


def malformed(stage: Stage) -> Sequence[Check]:
    """Send every malformed message that the place can be given, one by one, with a good task after each; then to a new worker."""
    cases = all_cases(stage.place.name, Target(), QUEUE)
    worker = stage.start_worker()
    stage.send(20, seconds=0)
    stage.wait_done(STALL_S)
    memory = Memory(worker.family())

    def put_one(case: Case) -> None:
        put(stage.place.name, stage.place.broker_url, QUEUE, [case])

    def good() -> bool:
        (key,) = stage.send(1, seconds=0)
        return stage.wait(lambda: key in stage.ended(), STALL_S) is not None

    stalled = endure(cases, put_one, good)
    died = memory.died()
    growth = memory.growth_bytes()
    stage.say(f"grew by {', '.join(f'{size / 2**20:.0f}' for size in growth.values())} MB")
    worker.terminate()
    worker.wait(STALL_S * 3)
    once_more = Target(mark=f"{MARK}again: ")
    again = [case for case in all_cases(stage.place.name, once_more, QUEUE) if case.size < SMALL_BYTES]
    put(stage.place.name, stage.place.broker_url, QUEUE, again)
    successor = stage.start_worker(ready=False)
    stage.wait(lambda: not successor.running or good(), STALL_S)
    lives = successor.running and good()
    stage.wait(lambda: not not_parked(cases, _letters(stage)), STALL_S)
    missing = not_parked(cases, _letters(stage))
    ran = wrongly_run(cases, {line.key for line in stage.journal.of(START)})
    return [
        Check(f"of {len(cases)} malformed messages none killed a process{_named(died)}", not died),
        Check(f"the good task after each was done{_named(stalled)}", not stalled),
        Check(f"each was parked with its reason{_named(missing)}", not missing),
        Check(f"none ran that must not{_named(ran)}", not ran),
        Check(
            f"no process grew by more than {max(growth.values()) / 2**20:.0f} MB",
            max(growth.values()) < GROWTH_MAX_BYTES,
        ),
        Check("the worker's successor lives, too", lives),
    ]


def _letters(stage: Stage) -> list[DeadLetter]:
    with (
        Celeriac("look", broker=stage.place.broker_url, backend="disabled://", set_as_current=False) as app,
        closing(app.broker.admin()) as admin,
    ):
        return admin.dead_letters(QUEUE, LETTERS)


def _named(names: Sequence[object]) -> str:
    return f" (but: {', '.join(map(str, names))})" if names else ""


SCENARIOS = (
    Scenario(
        "malformed",
        "malformed messages among good ones",
        "no death, no stall, each parked with its reason, under 50 MB more memory",
        (REDIS, RABBITMQ, SQLITE),
        malformed,
        may_refuse=True,  # a Redis that writes 40 MB to its disk may answer nobody else in time
    ),
)
