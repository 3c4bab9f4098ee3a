"""A program of its own for each test, and the real command line run on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tests.forge import forge
from tests.services import wait_until

ANSWER_S = 60.0
STOP_S = 30.0

SHOP = """
import asyncio
import os
import threading
import time

from celeriac import Celeriac

app = Celeriac("shop", **SETTINGS)


@app.task(name="shop.add")
def add(x: int, y: int = 1) -> int:
    return x + y


@app.task(name="shop.fail", max_retries=0)
def fail(text: str) -> None:
    raise ValueError(text)


@app.task(name="shop.die")
def die() -> None:
    os.kill(os.getpid(), 9)


@app.task(name="shop.sleep")
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(name="shop.hold")
def hold(gate: str) -> str:
    open(gate + ".begun", "w").close()
    while not os.path.exists(gate):
        time.sleep(0.01)
    return "held"


@app.task(name="shop.where")
def where() -> list:
    return [os.getpid(), threading.current_thread() is threading.main_thread()]


@app.task(name="shop.soon")
async def soon(value: str) -> str:
    await asyncio.sleep(0)
    return value


@app.task(name="shop.limits", bind=True)
def limits(self) -> list:
    return [self.time_limit, self.soft_time_limit]
"""


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without anything that would decide what the tests decide."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CELERIAC_", "CELERY_"))}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


class Project:
    """A directory with the module `shop`, whose app uses the given settings, or else the embedded broker there."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        (directory / "shop.py").write_text(SHOP.replace("SETTINGS", repr(settings)))

    def run(self, *arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `celeriac` to its end, `typed` on its standard input."""
        with TemporaryFile("w+") as stdin, TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
            stdin.write(typed)
            stdin.seek(0)
            files = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
            process = forge().start(arguments, cwd=self.directory, env=clean_environment(**environment), **files)
            try:
                code = process.wait(ANSWER_S)
            finally:
                process.kill()
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(process.args, code, stdout.read(), stderr.read())

    def ok(self, *arguments: str, **environment: str) -> str:
        """Run `celeriac`, which must succeed, and return what it prints."""
        done = self.run(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def hold(self, worker: RunningWorker) -> tuple[str, Path]:
        """Send a task that runs until its gate, a file, is made; return its id and the gate once it has begun."""
        gate = self.directory / "gate"
        task_id = self.ok("-A", "shop", "call", "shop.hold", json.dumps(str(gate))).strip()
        worker.until(gate.with_name("gate.begun").exists, "the task has begun")
        return task_id, gate

    def json(self, *arguments: str) -> Any:
        """Run `celeriac ... --json` and return what it prints."""
        return json.loads(self.ok(*arguments, "--json"))

    def depth(self, name: str) -> int:
        """One number of the default queue."""
        found = self.json("-A", "shop", "queues", "-Q", "celery")
        return int(found[0][name])

    @contextmanager
    def worker(self, *arguments: str, **environment: str) -> Iterator[RunningWorker]:
        """A worker that is ready, and stopped afterwards."""
        with self.worker_not_ready(*arguments, **environment) as worker:
            worker.wait_for(" ready.")
            yield worker

    @contextmanager
    def worker_not_ready(self, *arguments: str, **environment: str) -> Iterator[RunningWorker]:
        """A worker that is starting, and stopped afterwards."""
        worker = RunningWorker(self.directory, arguments, clean_environment(**environment))
        try:
            yield worker
        finally:
            worker.stop()


class RunningWorker:
    """`celeriac -A shop worker` as a program; its output in two files."""

    def __init__(self, directory: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self._out, self._err = directory / "worker.out", directory / "worker.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            command = [sys.executable, "-m", "celeriac", "-A", "shop", "worker", *arguments]
            self.process = subprocess.Popen(command, cwd=directory, env=environment, stdout=out, stderr=err)

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self._err.read_text()

    def wait_for(self, text: str) -> None:
        """Return when the text stands in its log."""
        self.until(lambda: text in self.err or self.process.poll() is not None, f"{text!r} in the log")
        assert text in self.err, f"the worker ended with {self.process.poll()}:\n{self.out}\n{self.err}"

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Return when the condition holds."""
        wait_until(condition, what, deadline_s=ANSWER_S)

    def wait(self) -> int:
        """Wait until it has ended and return its exit code."""
        return self.process.wait(ANSWER_S)

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and return its exit code. Idempotent."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
