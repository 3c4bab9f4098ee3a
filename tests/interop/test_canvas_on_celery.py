"""The random workflows of tests/canvas on real Celery: where it comes to an end, it gives what we give; and on one queue, with both.

What we give is what plain Python says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac, canvas, exceptions
from celeriac.torture.journal import START, Journal
from celeriac.torture.servers.service import Reaper
from tests.canvas import functions
from tests.canvas.building import Builder
from tests.canvas.expected import Value, work_out
from tests.canvas.random_canvas import random_canvas
from tests.canvas.trees import Canvas
from tests.interop.canvas_differences import ORDER, SAME_CAUSE, UNEXPLAINED, Answer, Difference, difference
from tests.interop.harness import CELERY_OPTIONS
from tests.program import ROOT, Program
from tests.services import PrivateRedis

COUNT = int(os.environ.get("CELERIAC_CANVASES", "60"))
FIRST = int(os.environ.get("CELERIAC_CANVASES_FROM", "0"))
DEADLINE_S = 60.0 + COUNT
pytestmark = pytest.mark.timeout(2 * DEADLINE_S)
LEFT_S = 1.0
"""For a canvas to end when there is nothing more to do."""


class Arena:
    """A Redis for broker and results, with workers and senders of both kinds on one queue."""

    def __init__(self, url: str, queue: str) -> None:
        self._url = url
        self._queue = queue
        self._directory = Path(tempfile.mkdtemp(prefix="celeriac-canvas-"))
        self._reaper = Reaper(self._directory)
        self._programs: list[Program] = []
        self.journal = Journal(self._directory / "journal", "")
        self.app = Celeriac(
            "canvas", broker=url, backend=url, task_default_queue=queue, task_priority_direction="celery"
        )
        functions.register(self.app, exceptions)
        self.builder = Builder(self.app, canvas)

    def celery_worker(self) -> None:
        options = ["worker", "-n", "celery@theirs", "-Q", self._queue, *CELERY_OPTIONS]
        self._start("celery", ["celery", "-A", "tests.canvas.celery_app", *options], "celery@theirs ready.")

    def our_worker(self) -> None:
        options = ["worker", "-n", "celeriac@ours", "-Q", self._queue, "-c", "1"]
        self._start("celeriac", ["celeriac", "-A", "tests.canvas.celeriac_app", *options], "celeriac@ours ready.")

    def celery_answers(self, seeds: Sequence[int]) -> list[Answer]:
        """Have a Celery program send these canvases and tell how each ended."""
        driver = subprocess.run(
            [sys.executable, "-m", "tests.canvas.celery_driver", *map(str, seeds)],
            cwd=ROOT,
            env={**os.environ, **self._environment()},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert driver.returncode == 0, driver.stderr[-5000:]
        answers = [Answer(**json.loads(line)) for line in driver.stdout.splitlines()]
        assert [answer.seed for answer in answers] == list(seeds)
        return answers

    def send(self, seeds: Iterable[int]) -> dict[int, Any]:
        """Send canvases from here and return their results."""
        return {seed: self.builder.send(canvas_of(seed)) for seed in seeds}

    def our_answers(self, sent: Mapping[int, Any], timeout_s: float) -> list[Answer]:
        """Tell how the canvases ended that were sent from here, once all have had so much time."""
        until = time.monotonic() + timeout_s
        return [_answer(seed, result, max(0.1, until - time.monotonic())) for seed, result in sent.items()]

    def close(self) -> None:
        """End the programs and remove their files."""
        self.app.close()
        for program in self._programs:
            print(f"--- log of {program.name}\n{program.log}")
            program.kill()
        self._reaper.close()

    def _start(self, name: str, module: Sequence[str], words: str) -> None:
        program = Program(name, module, self._environment(), self._directory)
        self._programs.append(program)
        self._reaper.watch([started.process for started in self._programs])
        program.wait_for(words)

    def _environment(self) -> dict[str, str]:
        return {
            "CELERY_BROKER_URL": self._url,
            "CELERY_RESULT_BACKEND": self._url,
            "CELERIAC_BROKER_URL": self._url,
            "CELERIAC_RESULT_BACKEND": self._url,
            functions.JOURNAL_VARIABLE: str(self._directory / "journal"),
            functions.QUEUE_VARIABLE: self._queue,
            functions.SETTINGS_VARIABLE: json.dumps({"task_priority_direction": "celery"}),
        }


def _answer(seed: int, result: Any, timeout_s: float) -> Answer:
    try:
        return Answer(seed, value=result.get(timeout=timeout_s))
    except exceptions.TimeoutError:
        return Answer(seed, hangs=True)
    except Exception as error:
        return Answer(seed, error=repr(error))


@pytest.fixture(scope="module")
def canvas_redis(needs_redis: None) -> Iterator[PrivateRedis]:
    """A Redis for these tests alone: what hangs on Celery stays in it."""
    with PrivateRedis() as server:
        yield server


@pytest.fixture(scope="module")
def on_celery(canvas_redis: PrivateRedis) -> Iterator[list[Answer]]:
    """What Celery alone, sender and worker, makes of the canvases."""
    arena = Arena(canvas_redis.database_url(0), "theirs")
    try:
        arena.celery_worker()
        yield arena.celery_answers(range(FIRST, FIRST + COUNT))
    finally:
        arena.close()


def canvas_of(seed: int) -> Canvas:
    return random_canvas(seed, of_celery=True)


def explained(answer: Answer) -> Difference | None:
    """Return what explains that a canvas ended otherwise than it should; None if it did not."""
    canvas = canvas_of(answer.seed)
    return difference(canvas, work_out(canvas), answer)


def _told(answer: Answer) -> str:
    canvas = canvas_of(answer.seed)
    expected = work_out(canvas)
    end = expected.value.value if isinstance(expected.value, Value) else expected.errors
    return f"{canvas}\n    gave {answer}\n    and not {end}"


def test_celery_gives_what_we_give_wherever_it_ends(on_celery: list[Answer]) -> None:
    found = [explained(answer) for answer in on_celery]
    counts = Counter(known.what if known else "the same" for known in found)
    print(*(f"{count:5} {what}" for what, count in counts.most_common()), sep="\n")
    unexplained = [answer for answer, known in zip(on_celery, found, strict=True) if known is UNEXPLAINED]
    assert not unexplained, "\n".join(map(_told, unexplained))
    assert counts["the same"] > len(on_celery) / 2


def test_both_kinds_of_workers_do_the_work_of_one_queue(canvas_redis: PrivateRedis, on_celery: list[Answer]) -> None:
    """First our worker alone does them all; then, sent by both sides, those of which Celery makes the same, by whoever takes a task."""
    seeds = [answer.seed for answer in on_celery if explained(answer) is None]
    arena = Arena(canvas_redis.database_url(1), "shared")
    try:
        arena.our_worker()
        alone = arena.our_answers(arena.send(range(FIRST, FIRST + COUNT)), DEADLINE_S)
        wrong = [answer for answer in alone if explained(answer)]
        assert not wrong, "\n".join(map(_told, wrong))
        arena.celery_worker()
        sent = arena.send(seeds)
        answers = [*arena.celery_answers(seeds), *arena.our_answers(sent, LEFT_S)]
        workers = Counter(line.more["worker"] for line in arena.journal.of(START) if "worker" in line.more)
    finally:
        arena.close()
    # Of a failure each side tells in its own words; and the order may have been right on Celery by chance.
    wrong = [answer for answer in answers if (known := explained(answer)) and known.what not in (SAME_CAUSE, ORDER)]
    assert not wrong, "\n".join(map(_told, wrong))
    assert len(workers) == 2, f"both have worked: {workers}"
