"""How the end that a task is told reaches it: in a thread that has only just taken it, in coroutines that await others."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client.context import Request
from celeriac.client.execution import execute_async
from celeriac.core.message import Message
from celeriac.core.outcome import Failed, Outcome, Revoked, Succeeded
from celeriac.exceptions import SoftTimeLimitExceeded, Terminated
from celeriac.worker.executor import thread as thread_module
from celeriac.worker.executor.cancelling import Cancel
from celeriac.worker.executor.frames import Job
from celeriac.worker.executor.limits import ThreadLimits
from celeriac.worker.executor.thread import ThreadExecutor

TERM = 15


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("cancelling", broker="memory://") as app:
        yield app


# -- threads ----------------------------------------------------------------------------------------------------------


class Runner:
    """Runs a job as the guard of a soft limit, and keeps what came of it."""

    def __init__(self) -> None:
        self.ends: list[object] = []

    def enter_thread(self) -> None: ...

    def run(self, job: Job, limit: ThreadLimits) -> None:
        try:
            with limit(None):
                self.ends.append(job.ending)
        except Terminated:
            self.ends.append(job.ending)


def test_a_note_that_comes_before_the_thread_says_what_it_runs_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Job(number, Message("q", {}, b"")) for number in (1, 2, 3)]
    runner: Any = Runner()
    with socket.socket() as unused:
        executor = ThreadExecutor(unused, unused, runner, 1)

    def receive(_socket: socket.socket) -> Job | None:
        if not jobs:
            return None
        job = jobs.pop(0)
        if job.number == 2:
            executor._cancel(Cancel(2, TERM))  # the core has found that nobody can take it back any more
        return job

    monkeypatch.setattr(thread_module, "receive_job", receive)
    with executor.make_limits() as executor._limits:
        executor._work()
        for number in range(1000):  # of jobs that have ended
            executor._cancel(Cancel(number, TERM))
    assert runner.ends == [None, Revoked("terminated", TERM), None]
    assert len(executor._early) == thread_module.EARLY_MAX


def test_an_exception_that_strikes_the_end_of_the_guard_leaves_nothing_behind() -> None:
    limits = ThreadLimits()
    leave = limits.leave
    struck: list[bool] = []

    def leave_struck() -> None:
        if not struck:
            struck.append(True)
            raise Terminated
        leave()

    limits.leave = leave_struck  # type: ignore[method-assign]
    with pytest.raises(Terminated), limits(60.0):
        pass
    assert (limits._guarded, limits._running) == (set(), {})
    limits.enter(60.0)  # and when it strikes before the guard's end has begun
    limits.forget(threading.get_ident())
    assert (limits._guarded, limits._running) == (set(), {})
    limits.close()


# -- coroutines -------------------------------------------------------------------------------------------------------


async def in_a_group(child: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(child())  # type: ignore[arg-type]


async def for_a_time(child: Callable[[], Awaitable[Any]]) -> None:
    await asyncio.wait_for(child(), 60)


async def together(child: Callable[[], Awaitable[Any]]) -> None:
    await asyncio.gather(child(), child())


async def within_a_timeout(child: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(60):
        await child()


WAYS = (in_a_group, for_a_time, together, within_a_timeout)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("catches", [True, False])
@pytest.mark.parametrize("by_signal", [True, False])
def test_a_soft_limit_ends_what_a_coroutine_awaits(app: Celeriac, way: Any, catches: bool, by_signal: bool) -> None:
    begun, ended, has_begun = [], [], asyncio.Event()

    async def child() -> None:
        begun.append(True)
        has_begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    @app.task(name="waits")
    async def waits() -> str:
        try:
            await way(child)
        except SoftTimeLimitExceeded:
            if not catches:
                raise
            await asyncio.sleep(0)
        return "tidied up"

    async def run() -> Outcome:
        task: Any = app.tasks["waits"]
        request = Request(id="1", task="waits")
        running = asyncio.ensure_future(execute_async(task, request, (), {}, None if by_signal else 0.01))
        if by_signal:
            await has_begun.wait()
            running.cancel(SoftTimeLimitExceeded())
        outcome = await running
        assert (len(ended), len(asyncio.all_tasks())) == (len(begun), 1), "what the task awaited goes on"
        return outcome

    outcome = asyncio.run(run())
    if catches:
        assert outcome == Succeeded("tidied up")
        return
    assert isinstance(outcome, Failed)
    assert type(outcome.exc) is SoftTimeLimitExceeded
    assert "SoftTimeLimitExceeded" in outcome.traceback
    assert "SoftCancellation" not in outcome.traceback
