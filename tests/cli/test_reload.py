"""`celeriac worker --reload`: a program is changed while its worker runs."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from celeriac.cli import reloading
from celeriac.cli.errors import CommandError
from tests.cli.support import ANSWER_S, Project, RunningWorker

READY = " ready."
TOUCH_AGAIN_S = 3.0


class Changing:
    """The project's module, and a worker that looks at it."""

    def __init__(self, project: Project, worker: RunningWorker) -> None:
        self.project = project
        self.worker = worker
        self.file = project.directory / "shop.py"
        self.source = self.file.read_text()

    def change(self, source: str, expected: str, *, restarts: bool) -> None:
        """Save a file, and return when the worker has said this, and is ready once more if it is to start anew."""
        before, said = self.worker.err.count(READY), self.worker.err.count(expected)
        self.file.write_text(source)
        self.worker.until(lambda: self.worker.err.count(expected) > said, f"it says {expected!r}")
        if restarts:
            self.worker.until(lambda: self.worker.err.count(READY) > before, "it is ready again")

    def sum(self) -> str:
        return self.project.ok("-A", "shop", "call", "shop.add", "1", "--wait", "30").strip()


def test_a_change_starts_the_worker_anew(project: Project) -> None:
    with project.worker("-c", "1", "--reload") as worker:
        changing = Changing(project, worker)
        # What is written before the watcher looks is not noticed: the first change is repeated until it is.
        better = changing.source.replace("return x + y", "return x + y + 100")
        (project.directory / "notes.txt").write_text("no Python")
        worker.until(
            lambda: _touched(changing.file, better) and "starting the worker anew" in worker.err, "it is noticed"
        )
        worker.until(lambda: worker.err.count(READY) >= 2, "it is ready again")
        assert changing.sum() == "102"
        assert "notes.txt" not in worker.err

        changing.change("def broken(:\n", "shop.py line 1: invalid syntax; the worker goes on as it is", restarts=False)
        core = _core(worker)
        assert project.ok("--broker", _broker(project), "queues", "-Q", "celery")
        changing.change("raise RuntimeError('no app today')", "waiting for the next change", restarts=False)
        assert not core.is_running()
        assert "no app today" in worker.err
        changing.change(changing.source, "shop.py changed: starting the worker anew", restarts=True)
        assert changing.sum() == "2"

        family = [process := psutil.Process(worker.process.pid), *process.children(recursive=True)]
        worker.process.send_signal(signal.SIGINT)
        assert worker.wait() == 0
        _gone, alive = psutil.wait_procs(family, timeout=ANSWER_S)
        assert not alive


def test_the_worker_ends_with_its_reloader(project: Project) -> None:
    with project.worker("-c", "1", "--reload") as worker:
        family = psutil.Process(worker.process.pid).children(recursive=True)
        worker.process.kill()
        _gone, alive = psutil.wait_procs(family, timeout=ANSWER_S)
        assert not alive


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(CommandError, match=r"pip install 'celeriac\[reload\]'"):
        reloading.reload_unless_child(Path())


def _touched(file: Path, source: str) -> bool:
    if file.read_text() != source or time.time() - file.stat().st_mtime > TOUCH_AGAIN_S:
        file.write_text(source)
    return True


def _core(worker: RunningWorker) -> psutil.Process:
    (core,) = psutil.Process(worker.process.pid).children()
    return core


def _broker(project: Project) -> str:
    return f"sqlite:///{project.directory / '.celeriac' / 'broker.db'}"
