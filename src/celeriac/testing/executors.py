"""Executors in threads of the test's process, whose jobs can be counted and who go by the test's clock."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from celeriac.client.app import Celeriac
from celeriac.testing.clock import VirtualClock
from celeriac.testing.loops import WatchedLoop, block_for_ever
from celeriac.worker.executor.async_ import AsyncExecutor
from celeriac.worker.executor.cancelling import Cancel
from celeriac.worker.executor.frames import Job
from celeriac.worker.executor.job import JobRunner, Limit
from celeriac.worker.executor.limits import ThreadLimits
from celeriac.worker.executor.main import serve
from celeriac.worker.executor.thread import ThreadExecutor
from celeriac.worker.handle import Body, Handle
from celeriac.worker.spawners import ThreadSpawner

JOIN_S: Final = 1.0
"""How long a worker that stops waits for each thread of its executors."""


class WatchedExecutor:
    """What is known of one executor: what it runs, in which threads or loop, and how it is killed."""

    def __init__(self, clock: VirtualClock | None, loop: WatchedLoop | None) -> None:
        self.loop = loop
        """Of the async kind; None: threads."""
        self.threads: set[int] = set()
        """Those that have run jobs."""
        self.active = 0
        """How many coroutines it runs."""
        self.cancelled: set[int] = set()
        """Numbers of the jobs that it was told to end."""
        self.killed = False
        self.limits: WatchedLimits | None = None
        self._clock = clock

    def is_still(self, handle: Handle) -> bool:
        """Tell whether nothing of what the core has given it can go on by itself; with the lock held."""
        told = sum(entry.kill_at < float("inf") for entry in handle.running.values())
        if told > len(self.cancelled & handle.running.keys()):
            return False  # word of a cancellation is still on its way
        if self.loop is not None:
            return self.loop.is_still() and self.active == len(handle.running)
        parked = self._clock.waits.parked(self.threads) if self._clock is not None else 0
        return parked == len(handle.running)

    def rouse(self) -> None:
        """Have its threads feel what was raised in them."""
        if self._clock is not None:
            for thread in list(self.threads):
                self._clock.waits.rouse(thread)

    def kill(self) -> None:
        """Let nothing more come of what it runs, as if its process had been killed."""
        if self.loop is not None:
            self.loop.abandon()
        elif self.limits is not None:
            for thread in list(self.threads):
                self.limits.interrupt(thread, SystemExit, lambda: True)
            self.rouse()


class CountingRunner(JobRunner):
    """Runs jobs as any executor does, and notes where."""

    def __init__(self, app: Celeriac, hostname: str, send: Callable[[bytes], None], executor: WatchedExecutor) -> None:
        super().__init__(app, hostname, send)
        self._executor = executor

    def run(self, job: Job, limit: Limit) -> None:
        """As any executor."""
        self._executor.threads.add(threading.get_ident())
        super().run(job, limit)

    async def run_async(self, job: Job) -> None:
        """As any executor."""
        self._executor.active += 1
        try:
            await super().run_async(job)
        finally:
            self._executor.active -= 1


class WatchedLimits(ThreadLimits):
    """Soft limits by a test's clock, which looks at them itself, or by the real time.

    What is left of a killed executor's task ends here, before anybody is told how it went.
    """

    def __init__(self, executor: WatchedExecutor, clock: VirtualClock | None) -> None:
        if clock is None:
            super().__init__()
        else:
            super().__init__(clock.monotonic)
        self._executor = executor
        self._clock = clock
        executor.limits = self

    def __enter__(self) -> Self:
        if self._clock is not None:
            self._clock.watch(self)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        if self._clock is not None:
            self._clock.unwatch(self)
        self.close()

    def leave(self) -> None:
        """Stop watching the calling thread; never return in the thread of a killed executor."""
        super().leave()
        if self._executor.killed:
            block_for_ever()

    def next_at(self) -> float:
        """Return when (monotonic) the next limit is reached."""
        with self._lock:
            return min((deadline for deadline, _limit in self._running.values()), default=float("inf"))

    def clock_moved(self) -> None:
        """Raise in the threads that are over their limit."""
        if self.look():
            self._executor.rouse()

    def _start_scanner(self) -> None:
        if self._clock is None:
            super()._start_scanner()


class _Threads(ThreadExecutor):
    def __init__(
        self,
        jobs: socket.socket,
        reports: socket.socket,
        runner: JobRunner,
        slots: int,
        executor: WatchedExecutor,
        clock: VirtualClock | None,
    ) -> None:
        super().__init__(jobs, reports, runner, slots)
        self._executor = executor
        self._clock = clock

    def make_limits(self) -> ThreadLimits:
        return WatchedLimits(self._executor, self._clock)

    def _cancel(self, cancel: Cancel) -> None:
        super()._cancel(cancel)
        self._executor.rouse()
        self._executor.cancelled.add(cancel.number)


class _Coroutines(AsyncExecutor):
    def __init__(
        self, jobs: socket.socket, reports: socket.socket, runner: JobRunner, slots: int, executor: WatchedExecutor
    ) -> None:
        super().__init__(jobs, reports, runner, slots)
        self._executor = executor

    def _cancel(self, cancel: Cancel) -> None:
        super()._cancel(cancel)
        self._executor.cancelled.add(cancel.number)


class WatchedSpawner(ThreadSpawner):
    """Makes executors that are watched, a process executor as a thread with one slot."""

    def __init__(
        self, app: Celeriac, hostname: str, clock: VirtualClock | None, new_loop: Callable[[], WatchedLoop]
    ) -> None:
        super().__init__(app, hostname)
        self.executors: dict[int, WatchedExecutor] = {}
        self._clock = clock
        self._new_loop = new_loop

    def serve(self, number: int, kind: str, slots: int, jobs: socket.socket, reports: socket.socket) -> None:
        """Be the executor, in its thread, until it ends."""
        loop = self._new_loop() if kind == "async" else None
        executor = self.executors[number] = WatchedExecutor(self._clock, loop)

        def run_executor(runner: JobRunner) -> None:
            if loop is None:
                _Threads(jobs, reports, runner, slots, executor, self._clock).serve()
                return
            with asyncio.Runner(loop_factory=lambda: loop) as asyncio_runner:
                asyncio_runner.run(_Coroutines(jobs, reports, runner, slots, executor).serve())

        def make_runner(app: Celeriac, hostname: str, send: Callable[[bytes], None]) -> JobRunner:
            return CountingRunner(app, hostname, send, executor)

        serve(self._app, kind, slots, self._hostname, jobs, reports, make_runner, run_executor)

    def body(self, number: int, thread: threading.Thread, exited: Callable[[], None]) -> Body:
        """Return what the core ends the executor by."""
        return _Body(self, number, exited)

    def kill_soon(self, number: int) -> None:
        """Kill an executor after what the core's loop has to do already."""
        executor = self.executors.get(number)
        if executor is not None:
            executor.killed = True
            self._loop.call_soon(executor.kill)

    async def close(self) -> None:
        """Wait shortly for the threads; those that were killed, or are stuck in C code, are left behind as daemons."""
        for thread in self._left():
            await asyncio.to_thread(thread.join, JOIN_S)

    def left_behind(self) -> list[str]:
        """Return the names of the threads that have not ended although nobody killed them."""
        return [thread.name for thread in self._left() if thread.is_alive()]

    def _left(self) -> list[threading.Thread]:
        killed = {f"executor-{number}" for number, executor in self.executors.items() if executor.killed}
        return [thread for thread in self._threads if thread.name not in killed]


class _Body:
    pid = 0

    def __init__(self, spawner: WatchedSpawner, number: int, exited: Callable[[], None]) -> None:
        self._spawner = spawner
        self._number = number
        self._exited = exited

    def kill(self) -> None:
        """Give the executor up, and only then end what it runs: nothing that comes of that must be heard."""
        self._exited()
        self._spawner.kill_soon(self._number)
