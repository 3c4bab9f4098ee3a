"""The async executor: n coroutines in one event loop."""

from __future__ import annotations

import asyncio
import socket

from celeriac.core.outcome import Revoked
from celeriac.exceptions import SoftTimeLimitExceeded
from celeriac.worker.executor.cancelling import SOFT, Cancel, receive_cancels
from celeriac.worker.executor.frames import Job, receive_job
from celeriac.worker.executor.job import JobRunner


class AsyncExecutor:
    """Duties: 1. take jobs from the socket while slots are free; 2. run each as a task of the loop; 3. cancel those that are to
    be ended; 4. end when told.
    """

    def __init__(self, jobs: socket.socket, reports: socket.socket, runner: JobRunner, slots: int) -> None:
        self._jobs = jobs
        self._reports = reports
        self._runner = runner
        self._slots = slots
        self._running: set[asyncio.Task[None]] = set()
        self._by_number: dict[int, tuple[Job, asyncio.Task[None]]] = {}
        self._reading = False

    async def serve(self) -> None:
        """Run until the core has no more for this executor."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._jobs.setblocking(False)
        self._read()
        self._loop.add_reader(self._reports, self._hear)
        await self._ended.wait()
        self._pause()
        if self._running:
            await asyncio.wait(self._running)

    def _read(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._jobs, self._take)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._jobs)

    def _take(self) -> None:
        while len(self._running) < self._slots:
            try:
                job = receive_job(self._jobs)
            except BlockingIOError:
                return None
            if job is None:
                return self._ended.set()
            task = self._loop.create_task(self._run(job))
            self._running.add(task)
            self._by_number[job.number] = job, task
            task.add_done_callback(self._forget)
        # All slots are taken: what waits stays in the socket, where the core can take it back.
        return self._pause()

    async def _run(self, job: Job) -> None:
        try:
            await self._runner.run_async(job)
        finally:
            del self._by_number[job.number]

    def _hear(self) -> None:
        cancels = receive_cancels(self._reports, socket.MSG_DONTWAIT)
        if cancels is None:
            self._loop.remove_reader(self._reports)
        for cancel in cancels or ():
            # Soon, not now: a task that is cancelled before its first step would never report its end.
            self._loop.call_soon(self._cancel, cancel)

    def _cancel(self, cancel: Cancel) -> None:
        job, task = self._by_number.get(cancel.number, (None, None))
        if job is None or task is None:
            return  # it has ended
        if cancel.signum == SOFT:
            task.cancel(SoftTimeLimitExceeded())
        else:
            job.ending = Revoked("terminated", cancel.signum)
            task.cancel()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not self._ended.is_set():
            self._read()


def serve(jobs: socket.socket, reports: socket.socket, runner: JobRunner, slots: int) -> None:
    """Run up to `slots` coroutines at once until the core has no more for this executor; `reports` brings word of tasks to be ended."""
    asyncio.run(AsyncExecutor(jobs, reports, runner, slots).serve())
