"""The life of one executor process, from the fork to its exit."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable

from celeriac.client.app import Celeriac
from celeriac.worker.executor import async_, process, thread
from celeriac.worker.executor.frames import Started, encode_report
from celeriac.worker.executor.job import JobRunner

logger = logging.getLogger("celeriac.worker")


def sender(reports: socket.socket) -> Callable[[bytes], None]:
    """Return a function that sends encoded reports whole, from any thread."""
    lock = threading.Lock()

    def send(data: bytes) -> None:
        with lock:
            # A soft limit must not strike in the middle: half a report would spoil all that follow.
            masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            try:
                reports.sendall(data)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, masked)

    return send


def serve(app: Celeriac, kind: str, slots: int, hostname: str, jobs: socket.socket, reports: socket.socket) -> None:
    """Run jobs of one kind until the core closes the socket or goes away."""
    send = sender(reports)
    runner = JobRunner(app, hostname, send)
    send(encode_report(Started(os.getpid())))
    try:
        match kind:
            case "process":
                process.serve(jobs, runner)
            case "thread":
                thread.serve(jobs, runner, slots)
            case "async":
                async_.serve(jobs, runner, slots)
            case _:
                raise ValueError(f"unknown kind of executor {kind!r}")
    except (BrokenPipeError, ConnectionResetError):
        logger.info("executor %d ends: its worker is gone", os.getpid())


def ignore_stop_signals() -> None:
    """Leave stopping to the core: a signal to the whole process group must not tear a task out of its executor.

    Handlers that do nothing, not SIG_IGN, because programs that a task starts would inherit that.
    """

    def nothing(_signum: int, _frame: object) -> None:
        return None

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(signum, nothing)
