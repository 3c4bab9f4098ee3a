"""Workers embedded in the test's process, started and stopped as Celery's testing module does it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from celeriac.client import current
from celeriac.client.app import Celeriac
from celeriac.client.dispatching import Signal
from celeriac.client.options import nearest
from celeriac.contrib.testing.tasks import PING, pong
from celeriac.testing.forking import TestForkSpawner
from celeriac.testing.worker import TestWorker
from celeriac.worker.spawner import Spawner

WORKER_LOGLEVEL: Final = os.environ.get("WORKER_LOGLEVEL", "error")

THREAD_POOLS: Final = ("solo", "threads", "thread", "gevent", "eventlet")
PROCESS_POOLS: Final = ("prefork", "processes", "process")
OPTIONS: Final = ("queues", "hostname", "threads", "async_concurrency", "patience_s")
WITHOUT_MEANING: Final = frozenset(
    {
        "without_heartbeat", "without_mingle", "without_gossip", "heartbeat_interval", "task_events", "send_events",
        "prefetch_multiplier", "optimization", "O", "pidfile", "ready_callback", "beat", "schedule", "scheduler",
        "max_tasks_per_child", "max_memory_per_child", "disable_prefetch",
    }
)  # fmt: skip
"""Parameters of Celery's workers that change nothing that a test could see here."""

test_worker_starting: Final = Signal("test_worker_starting")
test_worker_started: Final = Signal("test_worker_started", frozenset({"worker", "consumer"}))
test_worker_stopped: Final = Signal("test_worker_stopped", frozenset({"worker"}))


class TestWorkController(TestWorker):
    """The worker that `start_worker` gives; see `TestWorker` for what it can do."""

    __test__ = False

    def ensure_started(self) -> None:
        """Wait until it claims messages. Raises what kept it from starting."""
        self._ready.wait()
        if self._error is not None:
            raise self._error


@contextmanager
def start_worker(
    app: Celeriac,
    concurrency: int = 1,
    pool: str = "solo",
    loglevel: str | int = WORKER_LOGLEVEL,
    logfile: str | None = None,
    perform_ping_check: bool = True,
    ping_task_timeout: float = 10.0,
    shutdown_timeout: float = 10.0,
    **options: Any,
) -> Iterator[TestWorkController]:
    """Run a worker in a thread of this process for the length of a `with` block.

    Args:
        app: the app whose tasks it runs; it becomes the current one, and the default one, for as long.
        concurrency: how many synchronous tasks run at once.
        pool: `solo` or `threads`: tasks run in threads of this process. `prefork`: in a process that is forked from it, which
            knows every task of now (later ones after `worker.reload()`), can crash and be killed, and whose log records reach
            this process's handlers.
        loglevel, logfile: level and file of the log, for apps that have `enable_logging`.
        perform_ping_check: run a task at the start, within `ping_task_timeout` seconds, to see that it works.
        shutdown_timeout: seconds that running tasks have at the end.
        options: `queues`, `hostname`, `threads`, `async_concurrency`, `patience_s`, as for `TestWorker`.  What only Celery's
            workers have is accepted and has no effect.

    Raises `RuntimeError` when something still runs at the end, `TypeError` for a parameter that does not exist.
    """
    test_worker_starting.send(sender=app)
    worker: TestWorkController | None = None
    try:
        with _logging(app, loglevel, logfile), current.kept():
            app.finalize()
            app.set_current()
            app.set_default()
            if perform_ping_check and PING not in app.tasks:
                app.task(name=PING)(pong)
            worker = TestWorkController(
                app,
                concurrency=concurrency,
                make_spawner=_spawner(app, pool),
                grace_s=shutdown_timeout,
                **_checked(options),
            )
            with _running(worker, shutdown_timeout):
                test_worker_started.send(sender=app, worker=worker, consumer=worker)
                if perform_ping_check:
                    _ping(app, worker, ping_task_timeout)
                yield worker
    finally:
        test_worker_stopped.send(sender=app, worker=worker)


@contextmanager
def _running(worker: TestWorkController, shutdown_timeout: float) -> Iterator[None]:
    with worker:
        yield
    left_behind = worker.left_behind()
    if left_behind:
        raise RuntimeError(
            f"the worker could not end {', '.join(left_behind)} within {shutdown_timeout:g} s: a task still runs there; raise"
            " shutdown_timeout if it takes so long"
        )


def _ping(app: Celeriac, worker: TestWorkController, timeout: float) -> None:
    answer = app.send_task(PING, ignore_result=False, queue=worker.queues[0]).get(
        timeout=timeout, disable_sync_subtasks=False
    )
    assert answer == "pong", f"the worker answered {answer!r} to a ping"


def _spawner(app: Celeriac, pool: str) -> Callable[[str], Spawner] | None:
    if pool in THREAD_POOLS:
        return None
    if pool in PROCESS_POOLS:
        return lambda hostname: TestForkSpawner(app, hostname)
    known = (*THREAD_POOLS, *PROCESS_POOLS)
    raise ValueError(f"pool={pool!r}: a worker of a test has one of {', '.join(known)}{nearest(str(pool), known)}")


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    for name in options:
        if name not in OPTIONS and name not in WITHOUT_MEANING:
            raise TypeError(f"start_worker() takes no {name!r}{nearest(name, OPTIONS)}")
    chosen = {name: value for name, value in options.items() if name in OPTIONS}
    queues = chosen.get("queues")
    if isinstance(queues, str):
        chosen["queues"] = [queue.strip() for queue in queues.split(",")]
    elif isinstance(queues, Sequence):
        chosen["queues"] = list(queues)
    return chosen


@contextmanager
def _logging(app: Celeriac, loglevel: str | int, logfile: str | None) -> Iterator[None]:
    """Set level and file of the log for a while, where the app asks for it."""
    if not getattr(app, "enable_logging", False):
        yield
        return
    logger = logging.getLogger("celeriac")
    level = loglevel.upper() if isinstance(loglevel, str) else loglevel
    before, handler = logger.level, logging.FileHandler(logfile) if logfile else None
    logger.setLevel(level)
    if handler is not None:
        handler.setFormatter(logging.Formatter("[%(asctime)s: %(levelname)s/%(threadName)s] %(message)s"))
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(before)
        if handler is not None:
            logger.removeHandler(handler)
            handler.close()
