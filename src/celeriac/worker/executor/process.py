"""The process executor: one synchronous task at a time, in the main thread of its own process."""

from __future__ import annotations

import socket

from celeriac.core.outcome import Revoked
from celeriac.worker.executor.cancelling import obey_cancels, receive_cancels
from celeriac.worker.executor.frames import Job, receive_job
from celeriac.worker.executor.job import JobRunner
from celeriac.worker.executor.limits import MainThreadLimit


def serve(jobs: socket.socket, reports: socket.socket, runner: JobRunner) -> None:
    """Run job after job until the core has no more for this executor; `reports` brings word of tasks to be ended."""
    limit = MainThreadLimit()
    obey_cancels(reports)

    def look_for_end(job: Job) -> None:
        # A handler of the program's own has taken the signal, and the task has ended because of it.
        for cancel in receive_cancels(reports, socket.MSG_DONTWAIT) or ():
            if cancel.number == job.number:
                job.ending = Revoked("terminated", cancel.signum)

    runner.look_for_end = look_for_end
    while (job := receive_job(jobs)) is not None:
        runner.run(job, limit)
