"""The life of one executor process, from the fork to its exit."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable

from celeriac.client import signals
from celeriac.client.app import Celeriac
from celeriac.client.current import set_current_app
from celeriac.worker.executor import async_, process, thread
from celeriac.worker.executor.cancelling import STOP_SIGNALS, ignore_stop_signal
from celeriac.worker.executor.frames import Started, encode_report
from celeriac.worker.executor.job import JobRunner

logger = logging.getLogger("celeriac.worker")


def sender(reports: socket.socket) -> Callable[[bytes], None]:
    """Return a function that sends encoded reports whole, from any thread."""
    lock = threading.Lock()

    def send(data: bytes) -> None:
        with lock:
            reports.sendall(data)

    return send


def serve(
    app: Celeriac,
    kind: str,
    slots: int,
    hostname: str,
    jobs: socket.socket,
    reports: socket.socket,
    make_runner: Callable[[Celeriac, str, Callable[[bytes], None]], JobRunner] = JobRunner,
    run_executor: Callable[[JobRunner], None] | None = None,
) -> None:
    """Run jobs of one kind until the core closes the socket or goes away.

    A worker that is looked into by a test has a runner and executors of its own.
    """
    set_current_app(app)
    signals.worker_process_init.send(hostname)
    send = sender(reports)
    runner = make_runner(app, hostname, send)
    try:
        send(encode_report(Started(os.getpid())))
        match kind:
            case _ if run_executor is not None:
                run_executor(runner)
            case "process":
                process.serve(jobs, reports, runner)
            case "thread":
                thread.serve(jobs, reports, runner, slots)
            case "async":
                async_.serve(jobs, reports, runner, slots)
            case _:
                raise ValueError(f"unknown kind of executor {kind!r}")
    except (BrokenPipeError, ConnectionResetError):
        logger.info("executor %d ends: its worker is gone", os.getpid())
    finally:
        signals.worker_process_shutdown.send(hostname, pid=os.getpid(), exitcode=0)


def ignore_stop_signals() -> None:
    """Leave stopping to the core: a signal to the whole process group must not tear a task out of its executor."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, ignore_stop_signal)
