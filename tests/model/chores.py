"""A program with one task of each kind, which counts its runs in this process: what a worker does while its connection is cut."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from celeriac import Celeriac, chord
from celeriac.client.result import AsyncResult
from celeriac.exceptions import Reject

MEMBERS: Final = 3


class Runs:
    """Counts the runs of tasks by their ids. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.by_id: Counter[str] = Counter()
        self.go_on = threading.Event()
        """What the tasks `hold` wait for."""

    def note(self, task: Any) -> int:
        """Note that a task has begun; returns how often it has by now."""
        with self._lock:
            self.by_id[task.request.id] += 1
            return self.by_id[task.request.id]


def make_app(broker: str, backend: str, queue: str, runs: Runs) -> Celeriac:
    """Return the program, reading from one queue."""
    app = Celeriac("chores", broker=broker, backend=backend, set_as_current=False, task_default_queue=queue)

    @app.task(name="add", bind=True)
    def add(self: Any, *numbers: int) -> int:
        runs.note(self)
        return sum(numbers)

    @app.task(name="hold", bind=True)
    def hold(self: Any, number: int) -> int:
        runs.note(self)
        runs.go_on.wait()
        return number

    @app.task(name="early", bind=True, acks_late=False)
    def early(self: Any, number: int) -> int:
        runs.note(self)
        return number

    @app.task(name="flaky", bind=True, max_retries=5)
    def flaky(self: Any, number: int) -> int:
        runs.note(self)
        if self.request.retries == 0:
            raise self.retry(countdown=0.05)
        return number

    @app.task(name="total", bind=True)
    def total(self: Any, numbers: Sequence[int]) -> int:
        runs.note(self)
        return sum(numbers)

    @app.task(name="refuse", bind=True)
    def refuse(self: Any) -> None:
        runs.note(self)
        raise Reject("not for us")

    return app


class Chores:
    """One round of work and what must have become of it. `early`: with a task that is acknowledged before it runs."""

    def __init__(self, app: Celeriac, *, early: bool) -> None:
        add, tasks = app.tasks["add"], app.tasks
        self.plain = [add.delay(number, 1) for number in range(3)]
        self.early = [tasks["early"].delay(7)] if early else []
        self.flaky = tasks["flaky"].delay(5)
        self.chain: AsyncResult[Any] = (add.s(1, 2) | add.s(3) | add.s(4)).delay()
        header = [add.s(number, number) for number in range(MEMBERS)]
        self.chord: AsyncResult[Any] = chord(header, tasks["total"].s()).delay()
        self.refused = tasks["refuse"].delay()

    def check(self, deadline_s: float) -> None:
        """Wait for everything, and fail where a result is not what it has to be."""
        assert [result.get(timeout=deadline_s) for result in self.plain] == [1, 2, 3]
        assert [result.get(timeout=deadline_s) for result in self.early] == [7] * len(self.early)
        assert self.flaky.get(timeout=deadline_s) == 5
        assert self.chain.get(timeout=deadline_s) == 10
        assert self.chord.get(timeout=deadline_s) == MEMBERS * (MEMBERS - 1)

    def expected_runs(self) -> dict[str, int]:
        """Return how often each task has to run, when nothing goes wrong."""
        expected = {result.id: 1 for result in (*self.plain, *self.early, self.chord, self.refused)}
        expected[self.flaky.id] = 2
        step: Any = self.chain
        while step is not None:
            expected[step.id] = 1
            step = step.parent
        assert self.chord.parent is not None
        members: Any = self.chord.parent.children
        expected.update((member.id, 1) for member in members)
        return expected
