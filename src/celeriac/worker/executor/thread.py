"""The thread executor: synchronous tasks in n threads of one process."""

from __future__ import annotations

import socket
import threading

from celeriac.worker.executor.frames import receive_job
from celeriac.worker.executor.job import JobRunner
from celeriac.worker.executor.limits import ThreadLimits


def serve(jobs: socket.socket, runner: JobRunner, slots: int) -> None:
    """Run jobs in `slots` threads, each taking its next job itself, until the core has no more for this executor."""
    with ThreadLimits() as limits:

        def take_and_run() -> None:
            while (job := receive_job(jobs)) is not None:
                runner.run(job, limits)

        others = [threading.Thread(target=take_and_run, name=f"task-{n}", daemon=True) for n in range(1, slots)]
        for thread in others:
            thread.start()
        take_and_run()
        for thread in others:
            thread.join()
