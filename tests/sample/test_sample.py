"""Two programs written for Celery from its guide, run on Celery, and on Celeriac: their imports changed and nothing else, and as they are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from celeriac.torture.servers.service import wait_until
from tests.services import PrivateRedis

HERE: Final = Path(__file__).parent
SHOP: Final = ("shop.py", "shopconfig.py", "drive.py")
"""A program's files: the first is the module of its app, the last is what drives it."""
WORKFLOWS: Final = ("workflows.py",)
IMPORT: Final = re.compile(r"^(from|import) (celery|kombu)\b", re.MULTILINE)
NAMES: Final = {"celery": "celeriac", "kombu": "celeriac.queues"}
UNEDITED: Final = "unedited"
COMMANDS: Final = {
    "celery": (("celery",), ()),
    "celeriac": (("celeriac",), ()),
    UNEDITED: (("celeriac", "--as-celery"), ("-m", "celeriac.compat")),
}
"""What runs the worker, and what stands before the name of the driving program."""
DEADLINE_S: Final = 120.0
OURS_IS_SAFER: Final = {
    # What the two may differ in, and why; everything else has to be equal.
    "worker_process_init",  # as many as there are executors, of which Celery starts some anew
}


def moved(text: str) -> str:
    """Return a program with its imports changed."""
    return IMPORT.sub(lambda found: f"{found[1]} {NAMES[found[2]]}", text)


class Program:
    """A program in a directory of its own, with a worker."""

    def __init__(self, files: Sequence[str], framework: str, broker: str, backend: str, directory: Path) -> None:
        self.module, self.driver = Path(files[0]).stem, files[-1]
        self.framework = framework
        self.directory = directory
        self.journal_file = directory / "journal"
        self.journal_file.touch()
        for name in files:
            text = (HERE / name).read_text()
            (directory / name).write_text(moved(text) if framework == "celeriac" else text)
        self.environment = {
            **os.environ,
            "SHOP_BROKER": broker,
            "SHOP_BACKEND": backend,
            "SHOP_JOURNAL": str(self.journal_file),
            "PYTHONPATH": str(directory),
        }

    def run(self) -> tuple[dict[str, Any], list[Any], str]:
        """Drive it; returns its report, the journal's lines and the worker's log."""
        log_file = self.directory / "worker.log"
        command, before = COMMANDS[self.framework]
        arguments = ["-A", self.module, "worker", "-c", "2", "-l", "INFO"]
        with log_file.open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", *command, *arguments],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(
                lambda: worker.poll() is not None or "ready." in log_file.read_text(errors="replace"),
                f"{self.framework}'s worker is ready",
                deadline_s=DEADLINE_S,
            )
            drive = subprocess.run(
                [sys.executable, *before, self.driver, uuid.uuid4().hex],
                cwd=self.directory,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=DEADLINE_S,
                check=False,
            )
            log_text = log_file.read_text(errors="replace")
            assert drive.returncode == 0, f"{drive.stdout}\n{drive.stderr}\n--- worker\n{log_text}"
            report: dict[str, Any] = json.loads(drive.stdout)
        finally:
            worker.terminate()
            worker.wait(DEADLINE_S)
        lines = [json.loads(line) for line in self.journal_file.read_text().splitlines()]
        return report, lines, log_file.read_text(errors="replace")


@pytest.fixture(
    params=[pytest.param("redis", marks=pytest.mark.redis), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)]
)
def make_place(request: pytest.FixtureRequest) -> Callable[[], tuple[str, str]]:
    """Makes an empty broker, and a Redis for the results, as most of Celery's users have it."""
    redis = request.getfixturevalue("own_redis")
    if request.param == "redis":
        return lambda: (redis.fresh_url(), redis.fresh_url())
    rabbit = request.getfixturevalue("rabbit_server")
    return lambda: (rabbit.fresh_url(), redis.fresh_url())


def told(lines: list[Any]) -> list[str]:
    """Return the journal in an order of its own: two processes write it."""
    return sorted({json.dumps(line) for line in lines if line[0] not in OURS_IS_SAFER})


def run_all(
    files: Sequence[str], make_place: Callable[[], tuple[str, str]]
) -> list[tuple[dict[str, Any], list[str], str]]:
    """Run a program on Celery, and on Celeriac in both ways, side by side."""

    def run(framework: str, place: tuple[str, str]) -> tuple[dict[str, Any], list[str], str]:
        with tempfile.TemporaryDirectory() as directory:
            report, lines, log = Program(files, framework, *place, Path(directory)).run()
            return report, told(lines), log

    with ThreadPoolExecutor() as all_of_them:
        running = [all_of_them.submit(run, framework, make_place()) for framework in COMMANDS]
        return [one.result() for one in running]


@pytest.mark.timeout(300)
def test_the_program_does_the_same_on_both(make_place: Callable[[], tuple[str, str]]) -> None:
    celery, celeriac, unedited = run_all(SHOP, make_place)
    assert celeriac[:2] == celery[:2]
    assert unedited[:2] == celery[:2]
    for framework, log in (("celery", celery[2]), ("celeriac", celeriac[2]), (UNEDITED, unedited[2])):
        assert re.search(r"INFO task=shop\.logged id=[0-9a-f-]{36} logged some text", log), (framework, log)
        assert re.search(r"shop\.logged.*printed some text|printed some text", log), framework


@pytest.mark.redis
@pytest.mark.timeout(300)
def test_workflows_come_to_the_same_on_both(own_redis: PrivateRedis) -> None:
    celery, celeriac, unedited = run_all(WORKFLOWS, lambda: (own_redis.fresh_url(), own_redis.fresh_url()))
    assert celeriac[:2] == celery[:2]
    assert unedited[:2] == celery[:2]
