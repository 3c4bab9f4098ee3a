"""The async executor: n coroutines in one event loop."""

from __future__ import annotations

import asyncio
import socket

from celeriac.worker.executor.frames import Job, receive_job
from celeriac.worker.executor.job import JobRunner


class AsyncExecutor:
    """Duties: 1. take jobs from the socket while slots are free; 2. run each as a task of the loop; 3. end when told."""

    def __init__(self, jobs: socket.socket, runner: JobRunner, slots: int) -> None:
        self._jobs = jobs
        self._runner = runner
        self._slots = slots
        self._running: set[asyncio.Task[None]] = set()
        self._reading = False

    async def serve(self) -> None:
        """Run until the core has no more for this executor."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._jobs.setblocking(False)
        self._read()
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
            task.add_done_callback(self._forget)
        # All slots are taken: what waits stays in the socket, where the core can take it back.
        return self._pause()

    async def _run(self, job: Job) -> None:
        await self._runner.run_async(job)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not self._ended.is_set():
            self._read()


def serve(jobs: socket.socket, runner: JobRunner, slots: int) -> None:
    """Run up to `slots` coroutines at once until the core has no more for this executor."""
    asyncio.run(AsyncExecutor(jobs, runner, slots).serve())
