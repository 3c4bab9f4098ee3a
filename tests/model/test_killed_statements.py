"""A process that works with the SQLite file is killed at every single statement in turn: nothing is lost for any of them.

There is no connection that could be cut, and no answer that could be lost: whoever asks SQLite is alive when it answers.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from celeriac import Celeriac
from celeriac.torture.servers.service import wait_until
from celeriac.worker.worker import EmbeddedWorker
from tests.model.chores import Chores, make_app
from tests.model.doomed import DONE, SETTINGS, RunsInFile

EVERY: Final = os.environ.get("CUT_EVERY") == "1"
"""Kill at every single statement, which takes minutes; else at every STRIDE-th, beginning at one that the seed chooses."""
STRIDE: Final = 1 if EVERY else 40
SEED: Final = int(os.environ.get("CUT_SEED", "0")) or random.randrange(1, 1_000_000)
DEADLINE_S: Final = 60.0
QUEUE: Final = "killed"
ROOT: Final = Path(__file__).parents[2]


@contextmanager
def doomed(part: str, url: str, runs: Path, number: int) -> Iterator[subprocess.Popen[str]]:
    """Have a process that will be killed, and see it dead."""
    command = [sys.executable, "-m", "tests.model.doomed", part, url, QUEUE, str(runs), str(number)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def is_empty(app: Celeriac) -> bool:
    """Tell whether nothing is left in the queue."""
    with closing(app.broker.admin()) as admin:
        (depth,) = admin.depths([QUEUE])
    return not (depth.ready or depth.delayed or depth.claimed)


@pytest.fixture
def runs(tmp_path: Path) -> RunsInFile:
    """What all processes of a test count."""
    return RunsInFile(tmp_path / "runs")


def program(url: str, runs: RunsInFile) -> Celeriac:
    """The program, for those that live."""
    app = make_app(url, url, QUEUE, runs)
    app.conf.update(SETTINGS)
    return app


@pytest.mark.timeout(1800 if EVERY else 300)
def test_a_worker_that_is_killed_at_its_nth_statement(tmp_path: Path, runs: RunsInFile) -> None:
    url = f"sqlite:///{tmp_path}/queue.db"
    kills = 0
    with program(url, runs) as client:
        for number in itertools.count(1 + SEED % STRIDE, STRIDE):
            where = f"killed at statement {number} (CUT_SEED={SEED})"
            chores = Chores(client, early=False)
            with doomed("worker", url, tmp_path / "runs", number) as process:
                wait_until(lambda: process.poll() is not None or is_empty(client), where, deadline_s=DEADLINE_S)
                lived = process.poll() is None
            assert process.returncode == -signal.SIGKILL
            with EmbeddedWorker(client, concurrency=3):
                chores.check(DEADLINE_S)
                wait_until(lambda: is_empty(client), f"the queue is empty, {where}", deadline_s=DEADLINE_S)
            expected, counted = chores.expected_runs(), runs.counted()
            assert all(counted[task_id] >= count for task_id, count in expected.items()), where
            if lived:
                break
            kills += 1
    assert kills >= 1


@pytest.mark.timeout(1800 if EVERY else 300)
def test_a_producer_that_is_killed_at_its_nth_statement(tmp_path: Path, runs: RunsInFile) -> None:
    """On a new file, so that it is killed also while it makes the tables. What it had said to be accepted runs."""
    kills = 0
    for number in itertools.count(1 + SEED % (STRIDE // 4 or 1), STRIDE // 4 or 1):
        where = f"killed at statement {number} (CUT_SEED={SEED})"
        url = f"sqlite:///{tmp_path}/queue-{number}.db"
        with doomed("producer", url, tmp_path / "runs", number) as process:
            assert process.stdout is not None
            said = process.stdout.read().split()
            process.wait(DEADLINE_S)
        accepted = [word for word in said if word != DONE]
        with program(url, runs) as reader, EmbeddedWorker(reader, concurrency=3):
            assert all(reader.AsyncResult(task_id).get(timeout=DEADLINE_S) for task_id in accepted), where
            wait_until(lambda reader=reader: is_empty(reader), f"the queue is empty, {where}", deadline_s=DEADLINE_S)  # type: ignore[misc]
        assert {runs.counted()[task_id] for task_id in accepted} <= {1}, where
        if DONE in said:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert kills >= 1
