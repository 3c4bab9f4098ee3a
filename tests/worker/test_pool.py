"""When the pool looks at what executors report."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import pytest

from celeriac.core.effects import ACK
from celeriac.core.message import Delivery, Message
from celeriac.core.policy import Policy
from celeriac.worker import pool as pool_module
from celeriac.worker.entry import Entry, run_key
from celeriac.worker.executor.frames import Done, Report, Started, encode_report
from celeriac.worker.handle import Body, Handle
from celeriac.worker.pool import Death, Pool

A_LONG_TIME_S = 3600.0


class Executors:
    """A spawner whose executors do what the test says, and a pool that has them."""

    def __init__(self, count: int = 1) -> None:
        self.heard: list[tuple[int, list[int]]] = []
        """Executor and the numbers of the jobs that it reported, each time that it was listened to."""
        self.deaths: list[Death] = []
        self.news = asyncio.Event()
        self.sockets: dict[int, tuple[socket.socket, socket.socket]] = {}
        self.pool = Pool(
            self,
            {"process": (count, 1)},
            max_tasks=None,
            max_memory_kib=None,
            on_reports=self._hear,
            on_death=self.deaths.append,
            on_ready=self.news.set,
        )

    async def start(
        self,
        spawned: Callable[[int, Body], None],
        exited: Callable[[int, int], None],
        lost: Callable[[int], None],
    ) -> None:
        self.exited = exited

    def spawn(self, number: int, kind: str, slots: int, jobs: socket.socket, reports: socket.socket) -> None:
        self.sockets[number] = (jobs, reports)

    async def close(self) -> None:
        for pair in self.sockets.values():
            for sock in pair:
                sock.close()

    def _hear(self, handle: Handle, reports: Sequence[Report]) -> None:
        numbers = [report.number for report in reports if isinstance(report, Done)]
        for number in numbers:
            assert handle.finish(number, 0.0, 0.0) is not None
        self.heard.append((handle.number, numbers))
        self.news.set()

    def report(self, executor: int, *jobs: int) -> None:
        for job in jobs:
            self.sockets[executor][1].sendall(encode_report(Done(job, ACK)))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.news.clear()
            await self.news.wait()

    async def busy(self, jobs: int, mean_runtime_s: float) -> list[Handle]:
        """Have every executor ready, and give it so many jobs of that length."""
        await self.pool.start()
        for _, reports in self.sockets.values():
            reports.sendall(encode_report(Started(1)))
        await self.until(lambda: all(handle.ready for handle in self.pool.handles))
        for handle in self.pool.handles:
            for number in range(jobs):
                message = Message("q", {"id": str(number), "task": "t"}, b"")
                entry = Entry(Delivery(number, "q", message), message, run_key(message), "process", Policy(), 0, 0.0)
                assert handle.give(entry, 0.0)
            handle.mean_runtime_s = mean_runtime_s
        return self.pool.handles


async def let_all_be_heard() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_reports_of_busy_executors_wake_nobody_and_are_heard_when_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "LOOK_LATER_S", A_LONG_TIME_S)

    async def scenario() -> Executors:
        executors = Executors()
        await executors.busy(jobs=10, mean_runtime_s=A_LONG_TIME_S / 2)
        executors.report(1, 1)
        await executors.until(lambda: executors.heard == [(1, [1])])
        for job in (2, 3, 4):
            executors.report(1, job)
            await let_all_be_heard()
        assert executors.heard == [(1, [1])]
        executors.exited(1, 0)
        await executors.pool.close()
        return executors

    executors = asyncio.run(scenario())
    assert executors.heard == [(1, [1]), (1, [2, 3, 4])]
    (death,) = executors.deaths
    assert [entry.message.id for entry in death.running + death.waiting] == ["4", "5", "6", "7", "8", "9"]


def test_reports_of_all_busy_executors_are_looked_at_together_and_then_as_they_come() -> None:
    async def scenario() -> list[tuple[int, list[int]]]:
        executors = Executors(count=2)
        await executors.busy(jobs=20, mean_runtime_s=pool_module.LOOK_LATER_S / 2)
        executors.report(1, 1)
        executors.report(2, 1)
        await executors.until(lambda: len(executors.heard) == 2)
        executors.report(1, *range(2, 19))
        executors.report(2, *range(2, 19))
        await executors.until(lambda: sum(len(numbers) for _, numbers in executors.heard) == 36)
        before = len(executors.heard)
        for job in (19, 20):
            for executor in (1, 2):
                executors.report(executor, job)
            await executors.until(lambda job=job: sum(numbers[-1] == job for _, numbers in executors.heard) == 2)  # type: ignore[misc]
        await executors.pool.close()
        return executors.heard[before:]

    assert sorted(asyncio.run(scenario())) == [(1, [19]), (1, [20]), (2, [19]), (2, [20])]


def test_an_executor_with_little_to_do_or_with_long_tasks_is_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "LOOK_LATER_S", A_LONG_TIME_S)

    async def scenario(jobs: int, mean_runtime_s: float) -> list[tuple[int, list[int]]]:
        executors = Executors()
        await executors.busy(jobs, mean_runtime_s)
        for job in (1, 2):
            executors.report(1, job)
            await executors.until(lambda job=job: len(executors.heard) == job)  # type: ignore[misc]
        await executors.pool.close()
        return executors.heard

    for jobs, mean_runtime_s in ((2, A_LONG_TIME_S), (20, 2 * A_LONG_TIME_S), (20, A_LONG_TIME_S / 100)):
        assert asyncio.run(scenario(jobs, mean_runtime_s)) == [(1, [1]), (1, [2])]
