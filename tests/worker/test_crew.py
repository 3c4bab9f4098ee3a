"""A running worker whose executors become more, fewer, or new: real processes on the embedded broker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from celeriac import Celeriac
from celeriac.client.loading import load_app
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.core import Core
from celeriac.worker.spawners import ForkServerSpawner
from celeriac.worker.worker import EmbeddedWorker
from tests.services import wait_until

DEADLINE_S = 60.0

APP = """
import os
import time

from celeriac import Celeriac

VERSION = 1
app = Celeriac("crew", broker="sqlite:///crew.db", backend="sqlite:///crew.db")


@app.task(name="hold")
def hold(gate):
    open(gate + f".begun.{os.getpid()}", "w").close()
    while not os.path.exists(gate):
        time.sleep(0.01)
    return VERSION


@app.task(name="note")
def note(number):
    with open("notes", "ab", buffering=0) as notes:
        notes.write(b"%d\\n" % number)
    time.sleep(0.005)


@app.task(name="version")
def version():
    return VERSION
"""


class Ship:
    """A worker in a thread of this process, whose executors are real."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        self.app: Celeriac = load_app("crew_app", str(directory))
        self.worker = EmbeddedWorker(
            self.app,
            make_spawner=lambda hostname: ForkServerSpawner(
                "crew_app", str(directory), hostname, loglevel=30, log_json=False, start_timeout_s=DEADLINE_S
            ),
            **options,
        )

    @property
    def core(self) -> Core:
        core = self.worker._worker.core
        assert core is not None
        return core

    def order(self, command: Callable[[], Any]) -> None:
        """Have something done in the core's thread."""
        loop = self.worker._worker._loop
        assert loop is not None
        loop.call_soon_threadsafe(command)

    def pids(self) -> set[int]:
        """The processes in which tasks run, those that are ending among them."""
        return {handle.pid for handle in self.core.handles if handle.pid}

    def until(self, condition: Callable[[], object], what: str) -> None:
        wait_until(condition, what, deadline_s=DEADLINE_S)

    def has_noted(self, notes: Path, enough: int) -> bool:
        return notes.exists() and len(notes.read_bytes().split()) >= enough

    def begun(self, gate: Path) -> int:
        return len(list(gate.parent.glob(f"{gate.name}.begun.*")))


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "crew_app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    del sys.modules["crew_app"]
    sys.path.remove(str(tmp_path))


def test_more_and_fewer(directory: Path) -> None:
    ship, gate = Ship(directory, concurrency=1), directory / "gate"
    with ship.worker:
        held = [ship.app.tasks["hold"].delay(str(gate)) for _ in range(3)]
        ship.until(lambda: ship.begun(gate) == 1, "the only executor is busy")
        ship.order(lambda: ship.core.crew.grow(2))
        ship.until(lambda: ship.begun(gate) == 3, "the others run beside it")
        ship.order(lambda: ship.core.crew.shrink(2))
        assert not any(result.ready() for result in held)
        gate.touch()
        assert [result.get(timeout=DEADLINE_S) for result in held] == [1, 1, 1]
        ship.until(lambda: len(ship.pids()) == 1, "two have ended")
        assert ship.app.tasks["version"].delay().get(timeout=DEADLINE_S) == 1
    ship.app.close()


def test_all_anew(directory: Path) -> None:
    ship, gate = Ship(directory, concurrency=2), directory / "gate"
    with ship.worker:
        held = ship.app.tasks["hold"].delay(str(gate))
        ship.until(lambda: ship.begun(gate) == 1, "one is busy")
        ship.until(lambda: len(ship.pids()) == 2, "both are there")
        before = ship.pids()
        (directory / "crew_app.py").write_text(APP.replace("VERSION = 1", "VERSION = 22"))
        ship.order(ship.core.crew.restart)
        ship.until(lambda: ship.app.tasks["version"].delay().get(timeout=DEADLINE_S) == 22, "the new code runs")
        assert not held.ready()
        gate.touch()
        assert held.get(timeout=DEADLINE_S) == 1
        ship.until(lambda: len(ship.pids()) == 2 and not ship.pids() & before, "both are new")
        ship.until(lambda: not any(psutil.pid_exists(pid) for pid in before), "the old ones have ended")
    ship.app.close()


def test_nothing_is_lost_or_doubled_while_executors_come_and_go(directory: Path) -> None:
    ship, tasks = Ship(directory, concurrency=2), 400
    with ship.worker:
        sent = [ship.app.tasks["note"].delay(number) for number in range(tasks)]
        notes, crew = directory / "notes", ship.core.crew
        commands = [lambda: crew.grow(3), crew.restart, lambda: crew.shrink(3)] * 2
        for step, command in enumerate(commands, 1):
            enough = step * tasks // 8
            ship.until(partial(ship.has_noted, notes, enough), "some have run")
            ship.order(command)
        for result in sent:
            result.get(timeout=DEADLINE_S)
        assert sorted(map(int, notes.read_bytes().split())) == list(range(tasks))
    ship.app.close()


def test_code_that_cannot_be_imported_changes_nothing(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    ship = Ship(directory, concurrency=1)
    with ship.worker:
        ship.until(lambda: len(ship.pids()) == 1, "it is there")
        before = ship.pids()
        (directory / "crew_app.py").write_text("raise RuntimeError('no app today')")
        ship.order(ship.core.crew.restart)
        ship.until(lambda: "the executors stay as they are" in caplog.text, "it is told")
        assert "no app today" in caplog.text
        assert ship.app.tasks["version"].delay().get(timeout=DEADLINE_S) == 1
        assert ship.pids() == before
    ship.app.close()


def test_what_cannot_be_asked_for(directory: Path) -> None:
    ship = Ship(directory, concurrency=2)
    with ship.worker:
        crew = ship.core.crew
        for refused, reason in (
            (lambda: crew.shrink(2), "one has to stay"),
            (lambda: crew.grow(0), "give 1 or more"),
            (lambda: crew.autoscale(5, 1), "Autoscale not enabled"),
            (lambda: crew.restart(["some.other.module"]), "name it in the setting `imports`"),
        ):
            with pytest.raises(ValueError, match=reason):
                refused()
    ship.app.close()


def test_threads_have_their_slots_from_their_start() -> None:
    app = Celeriac("crew", broker="memory://", backend="memory://")
    worker = EmbeddedWorker(app, concurrency=0, threads=2)
    with worker:
        core = worker._worker.core
        assert core is not None
        with pytest.raises(ValueError, match="thread have their slots from their start"):
            core.crew.grow(1)
    app.close()


@pytest.mark.parametrize("limits", [(1, 3), (0, 0)])
def test_limits_that_contradict_each_other(limits: tuple[int, int]) -> None:
    app = Celeriac("crew", broker="memory://", backend="memory://")
    with pytest.raises(ImproperlyConfigured, match="the smaller number has to be at least 1"):
        EmbeddedWorker(app, autoscale=limits)
    app.close()


def test_a_worker_grows_under_load_and_shrinks_after_it(directory: Path) -> None:
    ship, gate = Ship(directory, autoscale=(4, 1)), directory / "gate"
    ship.app.conf.override(
        {"worker_autoscale_look_s": 0.05, "worker_autoscale_ask_s": 0.1, "worker_autoscale_keepalive_s": 0.5}
    )
    ship.app.conf.override({"worker_autoscale_target_delay_s": 0.0})
    with ship.worker:
        held = [ship.app.tasks["hold"].delay(str(gate)) for _ in range(6)]
        ship.until(lambda: ship.begun(gate) == 4, "as many run as are allowed at most")
        ship.order(lambda: ship.core.crew.autoscale(most=5))
        ship.until(lambda: ship.begun(gate) == 5, "more run when more are allowed")
        gate.touch()
        assert [result.get(timeout=DEADLINE_S) for result in held] == [1] * 6
        ship.until(lambda: len(ship.pids()) == 1, "one is left")
        assert ship.app.tasks["version"].delay().get(timeout=DEADLINE_S) == 1
        ship.order(lambda: ship.core.crew.grow(7))
        ship.until(
            lambda: ship.core.crew.limits is not None and ship.core.crew.limits.most == 8, "an operator is heeded"
        )
    ship.app.close()
