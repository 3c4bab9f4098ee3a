"""Short runs of the torture itself: what `celeriac torture --short` plays, everything but how long it took."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from celeriac.torture.orders import JOURNAL_VARIABLE
from celeriac.torture.places import RABBITMQ, REDIS
from celeriac.torture.plan import Run, plan_of
from celeriac.torture.play import SHORT, play
from celeriac.torture.processes import is_dead
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.scenarios.storm import WORKERS
from celeriac.torture.servers.service import wait_until
from celeriac.torture.stage import Stage
from celeriac.torture.systems.celeriac import CeleriacSystem

MARKS = {REDIS: [pytest.mark.redis], RABBITMQ: [pytest.mark.redis, pytest.mark.rabbitmq]}
BRIEF = [run for run in plan_of((), (), (), [1]) if run.place in run.scenario.in_tests]


@pytest.mark.parametrize(
    "run",
    [pytest.param(run, id=f"{run.place}-{run.scenario.name}", marks=MARKS.get(run.place, ())) for run in BRIEF],
)
@pytest.mark.timeout(300)
def test_it_holds(run: Run, request: pytest.FixtureRequest) -> None:
    for mark, fixture in (("redis", "needs_redis"), ("rabbitmq", "needs_rabbit")):
        if request.node.get_closest_marker(mark):
            request.getfixturevalue(fixture)
    finding = run.play(scale=SHORT, say=print)
    assert finding.holds_untimed, (finding.error, [check.what for check in finding.checks if not check.holds])
    assert finding.tally is not None
    assert finding.tally.submitted > 0


def lose(stage: Stage) -> Sequence[Check]:
    """Kill a worker that acknowledges before it runs, as Celery's do by default."""
    stage.settings = {"task_acks_late": False, "worker_lease_s": 1.0, "worker_heartbeat_s": 0.25}
    worker = stage.start_worker()
    stage.send(20, seconds=0.1)
    stage.wait_part_done(0.2, 20)
    worker.kill()
    stage.interrupted()
    stage.start_worker()
    stage.wait(stage.drained, 60)
    return [Check("the worker survived", worker.running)]


def test_what_is_lost_is_found() -> None:
    loser = Scenario("lose", "kill a worker that acknowledges early", "nothing", ("sqlite",), lose)
    finding = play(loser, "sqlite", CeleriacSystem())
    assert finding.tally is not None
    assert finding.tally.lost >= finding.tally.in_flight > 0
    assert finding.tally.completed == 20 - finding.tally.lost
    wrong = [check.what for check in finding.checks if not check.holds]
    assert wrong == [f"{finding.tally.lost} lost", "the worker survived"]
    assert not finding.holds_untimed


def test_what_is_not_possible_here_is_left_out_and_no_fault() -> None:
    impossible = Scenario("cut", "cut a cable", "nothing", ("sqlite",), lose, why_not=lambda: "there is no cable")
    finding = play(impossible, "sqlite", CeleriacSystem())
    assert (finding.left_out, finding.error, finding.tally) == ("there is no cable", "", None)
    assert finding.holds


def test_what_may_be_lost_is_counted_and_no_fault() -> None:
    loser = Scenario("lose", "kill a worker that acknowledges early", "told", ("sqlite",), lose, may_lose=("sqlite",))
    finding = play(loser, "sqlite", CeleriacSystem())
    assert finding.tally is not None
    assert finding.tally.lost > 0
    assert [check.what for check in finding.checks if not check.holds] == ["the worker survived"]


def test_the_command_tells_it_to_programs_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "celeriac", "torture", "kill-tree", "--short", "--on", "sqlite", "--json"]
    # Other tests have journals too: its own are known by their folder.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    (finding,) = json.loads(done.stdout)
    untimed = [check for check in finding["checks"] if not check["timed"]]
    assert all(check["holds"] for check in untimed), (untimed, done.stderr)
    assert finding["tally"]["completed"] == finding["tally"]["submitted"] == 60
    assert done.returncode == (0 if finding["holds"] else 1)
    assert not [process for process in psutil.process_iter() if journal_of(process).startswith(str(tmp_path))]
    assert list(tmp_path.iterdir()) == []


def processes_of(torture: subprocess.Popen[bytes]) -> set[psutil.Process]:
    """Return the workers and producers that a torture has now, executors not among them."""
    found = set()
    for process in psutil.Process(torture.pid).children():
        with contextlib.suppress(psutil.Error):
            if JOURNAL_VARIABLE in process.environ():
                found.add(process)
    return found


def journal_of(process: psutil.Process) -> str:
    """Return the journal into which a process writes, or would write: whoever started it, and whether it is stopped or not."""
    with contextlib.suppress(psutil.Error):
        return "" if is_dead(process) else process.environ().get(JOURNAL_VARIABLE, "")
    return ""


def test_a_storm_that_is_told_to_end_leaves_nothing() -> None:
    command = [sys.executable, "-m", "celeriac", "torture", "kill-storm", "--scale", "0.5", "--on", "sqlite"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as torture:
        seen: set[psutil.Process] = set()

        def is_in_the_middle() -> bool:
            seen.update(processes_of(torture))
            return len(seen) >= WORKERS + 1 + 3  # a producer, and three workers in the place of killed ones

        wait_until(is_in_the_middle, "three workers have been killed", deadline_s=120)
        (journal,) = {process.environ()[JOURNAL_VARIABLE] for process in processes_of(torture)}
        torture.terminate()
    assert torture.returncode == -signal.SIGTERM
    wait_until(lambda: not any(journal_of(one) == journal for one in psutil.process_iter()), "no process is left")
    wait_until(lambda: not Path(journal).parent.exists(), "the folder is removed")


def test_the_command_lists_what_there_is() -> None:
    done = subprocess.run([sys.executable, "-m", "celeriac", "torture", "--list"], capture_output=True, text=True)
    assert done.returncode == 0
    title, *lines = done.stdout.splitlines()
    assert title.split("\t") == ["scenario", "what is done", "what must hold", "on"]
    assert {line.split("\t")[0] for line in lines} == {run.scenario.name for run in plan_of((), (), (), [1])}
