"""The process executor: one synchronous task at a time, in the main thread of its own process."""

from __future__ import annotations

import socket

from celeriac.worker.executor.frames import receive_job
from celeriac.worker.executor.job import JobRunner
from celeriac.worker.executor.limits import MainThreadLimit


def serve(jobs: socket.socket, runner: JobRunner) -> None:
    """Run job after job until the core has no more for this executor."""
    limit = MainThreadLimit()
    while (job := receive_job(jobs)) is not None:
        runner.run(job, limit)
