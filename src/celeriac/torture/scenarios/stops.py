"""Workers are asked to stop, or stand still for longer than their lease and go on."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Sequence

from celeriac.torture.journal import START
from celeriac.torture.places import RABBITMQ, REDIS, SQLITE
from celeriac.torture.processes import Worker
from celeriac.torture.scenario import Check, Scenario
from celeriac.torture.stage import Stage
from celeriac.torture.tally import running

EVERYWHERE = (REDIS, RABBITMQ, SQLITE)
NEVER_S = 999.0
BACK_S = 2.0
"""So soon has another worker to begin what was given back."""
EXIT_S = 1.0
"""For everything but the tasks."""
EXIT_DEADLINE_S = 60.0
WARMING = 30
"""Quick tasks, after which a worker claims ahead."""


def sigterm(stage: Stage) -> Sequence[Check]:
    """Stop a worker whose tasks end within the grace time, and start another."""
    seconds = 5.0 if stage.scale == 1 else 1.0
    worker = _warm(stage)
    keys = stage.send(8, seconds)
    stage.wait(lambda: len(stage.begun() & set(keys)) >= 2, 30)
    began = time.monotonic()
    code, exit_s = _stop(worker, began, signal.SIGTERM)
    stage.start_worker()
    stage.wait_done(90)
    tally = stage.tally()
    return [
        Check(f"exit code {code}", code == 0),
        Check(f"ended after {exit_s:.1f} s, longest task {seconds:g} s", exit_s <= seconds + EXIT_S, timed=True),
        Check(f"{tally.begun_again} begun again", tally.begun_again == 0),
    ]


def sigterm_long(stage: Stage) -> Sequence[Check]:
    """Stop a worker whose tasks take longer than its grace time, while another one has room."""
    seconds, grace_s = (20.0, 10.0) if stage.scale == 1 else (5.0, 2.0)
    # Whatever is counted here parks the task: nothing may be.
    stage.settings.update(task_crash_limit=1, task_loss_limit=1)
    worker = _warm(stage, "--grace", str(grace_s))
    keys = set(stage.send(8, seconds))
    stage.wait(lambda: len(stage.begun() & keys) >= 2, 30)
    own = stage.begun() & keys
    ended = _Watch(worker)
    worker.terminate()
    at = time.time()
    stage.start_worker(8)
    ready_at = time.time()
    stage.in_flight += len(own)
    code, gone_at = ended.wait()
    stage.wait(lambda: all(stage.journal.starts(key) > (key in own) for key in keys), 60)
    begun_s, given_back_s = NEVER_S, NEVER_S
    starts = {key: [line.at for line in stage.journal.of(START, key)] for key in keys}
    if all(len(starts[key]) > (key in own) for key in keys):
        begun_s = max(0.0, *(starts[key][0] - ready_at for key in keys - own))
        given_back_s = max(0.0, *(starts[key][1] - max(gone_at, ready_at) for key in own))
    stage.recovery_s = given_back_s
    stage.wait_done(90)
    tally = stage.tally()
    took_s = gone_at - at
    return [
        Check(f"exit code {code} after {took_s:.1f} s", code == 0),
        Check(f"within the grace time of {grace_s:g} s", took_s <= grace_s + EXIT_S, timed=True),
        Check(
            f"what had not begun is begun by the other one {begun_s:.1f} s after its start",
            begun_s <= BACK_S,
            timed=True,
        ),
        Check(f"what ran, {given_back_s:.1f} s after the end of the first one", given_back_s <= BACK_S, timed=True),
        Check(f"{tally.begun_again} begun again, {len(own)} given back", tally.begun_again == len(own)),
        Check("nothing was counted as a crash or a loss", tally.lost == 0),
    ]


def stop_signals(stage: Stage) -> Sequence[Check]:
    """Stop workers in every way there is: warm ones let tasks end, cold ones give them back, whatever was asked first."""
    seconds = 3.0
    checks = []
    for name, numbers, warm in (
        ("INT", [signal.SIGINT], True),
        ("HUP", [signal.SIGHUP], True),
        ("TERM, TERM", [signal.SIGTERM, signal.SIGTERM], False),
        ("INT, INT", [signal.SIGINT, signal.SIGINT], False),
        ("QUIT", [signal.SIGQUIT], False),
    ):
        worker = stage.start_worker()
        keys = set(stage.send(2, seconds))
        stage.wait(lambda keys=keys: stage.begun() >= keys, 30)  # type: ignore[misc]
        ran = set(running(stage.journal.lines)) & keys
        began = time.monotonic()
        code, exit_s = _stop(worker, began, *numbers)
        ended = keys <= stage.ended()
        if not warm:
            stage.in_flight += len(ran)
        checks += [
            Check(f"{name}: exit code {code}", code == 0),
            Check(f"{name}: tasks were {'ended' if ended else 'given back'}", ended == warm),
            Check(f"{name}: {exit_s:.1f} s", exit_s <= (seconds if warm else 0.0) + EXIT_S, timed=True),
        ]
    stage.start_worker()
    stage.wait_done(60)
    again = stage.tally().begun_again
    return [*checks, Check(f"{again} begun again, {stage.in_flight} given back", again == stage.in_flight)]


def _warm(stage: Stage, *options: str) -> Worker:
    """Start a worker and give it quick tasks, so that it claims ahead."""
    worker = stage.start_worker(2, *options)
    stage.send(WARMING, 0.0)
    stage.wait_done(60)
    return worker


class _Watch(threading.Thread):
    """Notes when a worker ends. Its duty: to wait for that, and nothing else."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(name="watch", daemon=True)
        self._worker = worker
        self._code: int | None = None
        self._at = math.inf
        self.start()

    def run(self) -> None:
        """Wait for the end."""
        self._code = self._worker.wait(EXIT_DEADLINE_S)
        self._at = time.time()

    def wait(self) -> tuple[int | None, float]:
        """Return exit code and time (Unix) of the end."""
        self.join()
        return self._code, self._at


def _stop(worker: Worker, began: float, *numbers: signal.Signals) -> tuple[int | None, float]:
    """Send signals, wait until the worker has ended, and return its exit code and how long that took."""
    for number in numbers:
        worker.process.send_signal(number)
        if len(numbers) > 1:
            time.sleep(0.2)  # two signals at the same moment are one
    code = worker.wait(EXIT_DEADLINE_S)
    return code, time.monotonic() - began


SCENARIOS = (
    Scenario(
        "sigterm",
        "SIGTERM, tasks fit into the grace time",
        "0 lost, 0 doubled, exit 0 not later than 1 s after the longest task",
        EVERYWHERE,
        sigterm,
        duplicates=False,
    ),
    Scenario(
        "sigterm-long",
        "SIGTERM, tasks longer than the grace time",
        "unstarted work back at once, running work at the deadline, uncounted; exit 0 within the grace time",
        EVERYWHERE,
        sigterm_long,
    ),
    Scenario(
        "stop-signals",
        "SIGINT, SIGHUP, SIGQUIT, and a second signal",
        "0 lost; one lets tasks end, QUIT and a second one give them back; exit 0 each time",
        EVERYWHERE,
        stop_signals,
    ),
)
