"""Other task queues under torture: Celery, which is installed for tests, and what is told of those that are not."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from celeriac.torture.places import REDIS
from celeriac.torture.play import play
from celeriac.torture.scenario import COUNTDOWN, Check, Scenario
from celeriac.torture.stage import Stage
from celeriac.torture.systems.celery import CelerySystem
from celeriac.torture.systems.dramatiq import DramatiqSystem
from celeriac.torture.systems.peer import PYTHON_VARIABLE
from celeriac.torture.systems.taskiq import TaskiqSystem


def work(stage: Stage) -> Sequence[Check]:
    """Send before there is a worker, then let it work."""
    stage.send(10)
    held = stage.held()
    worker = stage.start_worker()
    stage.wait_done(60)
    stage.wait(stage.drained, 60)
    executors = {process.pid for process in worker.executors()}
    ran = {line.pid for line in stage.journal.of("end")}
    return [
        Check(f"the broker held {held}", held == 10),
        Check("it holds nothing now", stage.drained()),
        Check("executors are known", ran <= executors),
    ]


@pytest.mark.redis
def test_celery_is_counted_as_celeriac_is(needs_redis: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    scenario = Scenario("work", "some tasks", "all done", (REDIS,), work, duplicates=False)
    finding = play(scenario, REDIS, CelerySystem(best=True))
    assert finding.holds, (finding.error, finding.checks)
    assert finding.tally is not None
    assert (finding.tally.submitted, finding.tally.completed) == (10, 10)


def test_what_has_to_be_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "/nowhere/python"
    monkeypatch.setenv(PYTHON_VARIABLE, missing)
    told = DramatiqSystem().missing()
    assert told is not None
    for word in (missing, "pip install celeriac dramatiq[redis,rabbitmq]", PYTHON_VARIABLE):
        assert word in told
    monkeypatch.setenv(PYTHON_VARIABLE, sys.executable)
    system = CelerySystem()
    monkeypatch.setattr(system, "modules", ("celery", "no_such_module"))
    assert str(system.missing()).startswith("no_such_module (in ")


def test_what_a_system_lacks_is_told() -> None:
    scenario = Scenario("waits", "tasks wait", "all done", (REDIS,), work, needs=(COUNTDOWN,))
    assert play(scenario, REDIS, TaskiqSystem()).error == "it has no countdown"
