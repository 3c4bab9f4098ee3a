"""The thread executor: synchronous tasks in n threads of one process."""

from __future__ import annotations

import socket
import threading
from typing import Final

from celeriac.core.outcome import Revoked
from celeriac.exceptions import SoftTimeLimitExceeded, Terminated
from celeriac.worker.executor.cancelling import SOFT, Cancel, CancelListener
from celeriac.worker.executor.frames import Job, receive_job
from celeriac.worker.executor.job import JobRunner
from celeriac.worker.executor.limits import ThreadLimits

EARLY_MAX: Final = 100


class ThreadExecutor:
    """Duties: 1. run jobs in n threads, each taking its next job itself; 2. raise an exception in the thread whose job is to end."""

    def __init__(self, jobs: socket.socket, reports: socket.socket, runner: JobRunner, slots: int) -> None:
        self._jobs = jobs
        self._reports = reports
        self._runner = runner
        self._slots = slots
        self._running: dict[int, tuple[int, Job]] = {}
        """Number of a job -> thread, job."""
        self._lock = threading.Lock()
        self._early: dict[int, Cancel] = {}
        """For jobs that have ended, or that a thread has taken but not yet said so; the latest of them."""

    def serve(self) -> None:
        """Run until the core has no more for this executor."""
        with self.make_limits() as self._limits:
            listener = CancelListener(self._reports, self._cancel)
            others = [threading.Thread(target=self._work, name=f"task-{n}", daemon=True) for n in range(1, self._slots)]
            for thread in others:
                thread.start()
            self._work()
            for thread in others:
                thread.join()
            listener.close()

    def make_limits(self) -> ThreadLimits:
        """Return what soft limits are kept by."""
        return ThreadLimits()

    def _work(self) -> None:
        thread = threading.get_ident()
        self._runner.enter_thread()
        while (job := receive_job(self._jobs)) is not None:
            with self._lock:
                self._running[job.number] = (thread, job)
                early = self._early.pop(job.number, None) if self._early else None
            if early is not None:
                self._cancel(early)
            self._runner.run(job, self._limits)
            del self._running[job.number]
            self._limits.forget(thread)

    def _cancel(self, cancel: Cancel) -> None:
        with self._lock:
            thread, job = self._running.get(cancel.number, (0, None))
            if job is None:
                self._early[cancel.number] = cancel
                if len(self._early) > EARLY_MAX:
                    del self._early[next(iter(self._early))]
                return
        if cancel.signum == SOFT:
            self._limits.interrupt(thread, SoftTimeLimitExceeded, lambda: cancel.number in self._running)
        else:
            job.ending = Revoked("terminated", cancel.signum)
            self._limits.interrupt(thread, Terminated, lambda: cancel.number in self._running)


def serve(jobs: socket.socket, reports: socket.socket, runner: JobRunner, slots: int) -> None:
    """Run jobs in `slots` threads until the core has no more for this executor; `reports` brings word of tasks to be ended."""
    ThreadExecutor(jobs, reports, runner, slots).serve()
