"""When the pool looks at what executors report."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Sequence

import pytest

from celeriac.core.effects import ACK
from celeriac.core.message import Delivery, Message
from celeriac.core.policy import Policy
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker import pool as pool_module
from celeriac.worker.entry import Entry, run_key
from celeriac.worker.executor.frames import Done, Report, Started, encode_report, receive_job
from celeriac.worker.handle import Body, Handle
from celeriac.worker.pool import Death, Pool
from tests.services import wait_until

A_LONG_TIME_S = 3600.0


class Executors:
    """A spawner whose executors do what the test says, and a pool that has them."""

    def __init__(self, count: int = 1, kind: str = "process", slots: int = 1) -> None:
        self.heard: list[tuple[int, list[int]]] = []
        """Executor and the numbers of the jobs that it reported, each time that it was listened to."""
        self.deaths: list[Death] = []
        self.news = asyncio.Event()
        self.renewals = 0
        self.cannot_renew: ImproperlyConfigured | None = None
        self.sockets: dict[int, tuple[socket.socket, socket.socket]] = {}
        self.pool = Pool(
            self,
            {kind: (count, slots)},
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

    async def renew(self) -> None:
        self.renewals += 1
        if self.cannot_renew is not None:
            raise self.cannot_renew

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
                entry = Entry(Delivery(number, "q", message), message, run_key(message), handle.kind, Policy(), 0, 0.0)
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


def numbers(executors: Executors) -> list[int]:
    return [handle.number for siblings in executors.pool.by_kind.values() for handle in siblings]


def ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.message.id for entry in entries]


def give(handle: Handle, *task_ids: str) -> None:
    for task_id in task_ids:
        message = Message("q", {"id": task_id, "task": "t"}, b"")
        assert handle.give(
            Entry(Delivery(0, "q", message), message, run_key(message), handle.kind, Policy(), 0, 0.0), 0.0
        )


def take_job(executors: Executors, executor: int) -> None:
    """Be the executor that begins its next job."""
    assert receive_job(executors.sockets[executor][0]) is not None


def test_fewer_executors_the_idle_ones_first() -> None:
    async def scenario() -> None:
        executors = Executors(count=4)
        await executors.busy(0, 1.0)
        busy = executors.pool.handles[1]
        give(busy, "runs", "waits")
        take_job(executors, 2)
        assert executors.pool.resize("process", 1) == []
        assert numbers(executors) == [2]
        for number in (1, 3, 4):
            executors.exited(number, 0)
        await let_all_be_heard()
        assert numbers(executors) == [2]
        assert executors.deaths[0].running == []
        await executors.pool.close()

    asyncio.run(scenario())


def test_a_busy_executor_too_many_ends_after_what_it_runs_and_gives_the_rest_back() -> None:
    async def scenario() -> None:
        executors = Executors(count=2)
        await executors.busy(0, 1.0)
        first, second = executors.pool.handles
        give(first, "a")
        give(second, "b", "c")
        take_job(executors, 1)
        take_job(executors, 2)
        give(first, "d", "e")
        assert ids(executors.pool.resize("process", 1)) == ["c"]
        assert numbers(executors) == [1]
        executors.report(2, 1)
        await executors.until(lambda: executors.heard == [(2, [1])])
        executors.exited(2, 0)
        assert numbers(executors) == [1]
        assert (executors.deaths[0].running, executors.deaths[0].waiting) == ([], [])
        await executors.pool.close()

    asyncio.run(scenario())


def test_what_dies_meanwhile_is_not_replaced_beyond_what_is_wanted() -> None:
    async def scenario() -> None:
        executors = Executors(count=3)
        await executors.busy(1, 1.0)
        executors.exited(3, -9)  # its replacement is under way
        executors.pool.resize("process", 2)
        await let_all_be_heard()
        assert numbers(executors) == [1, 2]
        executors.pool.resize("process", 3)
        assert numbers(executors) == [1, 2, 4]
        assert executors.pool.size("process") == 3
        await executors.pool.close()

    asyncio.run(scenario())


def test_busy_processes_are_renewed_when_they_end_and_never_more_run_than_wanted() -> None:
    async def scenario() -> None:
        executors = Executors(count=2)
        await executors.busy(0, 1.0)
        idle, busy = executors.pool.handles
        give(busy, "runs", "waits")
        take_job(executors, 2)
        assert ids(await executors.pool.renew()) == ["waits"]
        executors.exited(1, 0)
        await let_all_be_heard()
        assert idle.retiring
        assert busy.retiring
        assert sorted(numbers(executors)) == [2, 3]
        executors.exited(2, 0)
        await let_all_be_heard()
        assert sorted(numbers(executors)) == [3, 4]
        await executors.pool.close()

    asyncio.run(scenario())


def test_an_executor_of_many_slots_is_renewed_at_once() -> None:
    async def scenario() -> None:
        executors = Executors(kind="thread", slots=5)
        await executors.busy(0, 1.0)
        give(executors.pool.handles[0], "runs")
        take_job(executors, 1)
        assert await executors.pool.renew() == []
        await let_all_be_heard()
        assert numbers(executors) == [2]
        await executors.pool.close()

    asyncio.run(scenario())


def test_nothing_changes_when_the_app_cannot_be_imported_anew() -> None:
    async def scenario() -> None:
        executors = Executors(count=2)
        await executors.busy(1, 1.0)
        executors.cannot_renew = ImproperlyConfigured("no app today")
        with pytest.raises(ImproperlyConfigured, match="no app today"):
            await executors.pool.renew()
        assert not any(handle.retiring for handle in executors.pool.handles)
        await executors.pool.close()

    asyncio.run(scenario())


def test_executors_for_which_sockets_run_short_are_made_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pool_module, "RESPAWN_PAUSE_S", 0.01)

    async def scenario() -> None:
        executors = Executors(1)
        await executors.pool.start()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 7, hard))
        try:
            executors.pool.resize("process", 4)
            assert len(executors.pool.handles) < 4
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await asyncio.to_thread(wait_until, lambda: len(executors.pool.handles) == 4, "the others are made")
        await executors.pool.close()

    asyncio.run(scenario())
    assert "a process executor can't be started yet, will go on trying: Too many open files" in caplog.text
