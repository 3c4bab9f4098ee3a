"""Random workflows on real workers: every one ends with what plain Python says, whether its workers are left alone or killed."""

from __future__ import annotations

import os

import pytest

from celeriac.torture.journal import Journal
from tests.canvas import checking
from tests.canvas.havoc import OPTIONS, Havoc
from tests.canvas.places import QUEUE, CanvasPlace
from tests.canvas.random_canvas import canvases
from tests.e2e.harness import Fleet

COUNT = int(os.environ.get("CELERIAC_CANVASES", "150"))
FIRST = int(os.environ.get("CELERIAC_CANVASES_FROM", "0"))
"""The first of the seeds. For a long run: `CELERIAC_CANVASES=1000 CELERIAC_CANVASES_FROM=5000 pytest tests/canvas`."""
FREEZES = int(os.environ.get("CELERIAC_CANVASES_FREEZES", "0"))
"""How often the core of a worker stands still for longer than its lease, beside what is killed."""
DEADLINE_S = 60.0 + COUNT * 0.2
"""For all canvases together."""
AFTER_S = 20.0
"""For what nobody waits for: callbacks, errbacks, what is given back."""

pytestmark = pytest.mark.timeout(DEADLINE_S + 3 * AFTER_S)


def test_every_canvas_ends_as_it_should(place: CanvasPlace, fleet: Fleet) -> None:
    fleet.start(QUEUE, *OPTIONS)
    sent = checking.send(place, list(canvases(COUNT, FIRST)))
    checking.check_results(sent, DEADLINE_S)
    checking.check_runs(place.journal, sent, AFTER_S)
    checking.check_nothing_left(place, sent, AFTER_S)
    if place.settles_at_once:
        checking.check_nothing_ran_after_its_end(place, sent)


SETTINGS_OF_THE_KILLED = {
    "worker_lease_s": 1.0,
    "worker_heartbeat_s": 0.25,
    "task_crash_limit": 1_000,
    "task_loss_limit": 1_000,
    "nap_s": 0.008,
}
"""What a killed worker had is taken over soon; and nobody is parked for what others have done to him."""


def test_every_canvas_ends_as_it_should_while_workers_are_killed(place: CanvasPlace, fleet: Fleet) -> None:
    havoc = Havoc(fleet, Journal(place.journal_file, ""), FIRST, SETTINGS_OF_THE_KILLED)
    with havoc.under_way(workers_to_kill=1 + COUNT // 75, cores_to_freeze=FREEZES):
        sent = checking.send(place, list(canvases(COUNT, FIRST)))
        checking.wait_for_most(sent, DEADLINE_S)
    checking.check_results(sent, DEADLINE_S)
    checking.check_runs(place.journal, sent, AFTER_S, killed=True)
    checking.check_nothing_left(place, sent, AFTER_S)
    if place.settles_at_once:
        checking.check_nothing_ran_after_its_end(place, sent)
    killed = (
        f"{havoc.executors_killed} executors and {havoc.workers_killed} workers killed, {havoc.cores_frozen} frozen"
    )
    print(f"{killed}; {checking.begun_again(place.journal, sent)} tasks begun once more for that")
    assert havoc.executors_killed
    assert havoc.workers_killed
    assert havoc.cores_frozen == FREEZES
