"""The worker as a program and as an object: options in, a running core out, signals in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from msgspec import Struct

from celeriac.client.app import Celeriac
from celeriac.client.calls import new_id
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.core import Core, CoreOptions
from celeriac.worker.pool import Spawner
from celeriac.worker.spawners import ForkServerSpawner, ThreadSpawner

logger = logging.getLogger("celeriac.worker")

DEFAULT_THREADS = 10
"""Slots of the thread executor when a task asks for one and the settings do not say."""


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """What a worker is asked to be; None leaves it to the settings."""

    hostname: str | None = None
    queues: Sequence[str] = ()
    concurrency: int | None = None
    """Process executors."""
    threads: int | None = None
    """Slots of the thread executor."""
    async_concurrency: int | None = None
    """Slots of the async executor."""
    grace_s: float | None = None
    """How long a warm shutdown waits for running tasks."""


def node_name(name: str | None) -> str:
    """Return a full node name: `%h` stands for the host, and a name without `@` gets it."""
    host = socket.gethostname()
    if name is None:
        return f"celeriac@{host}"
    name = name.replace("%h", host).replace("%n", host.partition(".")[0])
    return name if "@" in name else f"{name}@{host}"


def executor_sizes(app: Celeriac, options: WorkerOptions) -> dict[str, tuple[int, int]]:
    """Return kind -> (executors, slots of each): processes always, the others where a task or an option asks for them."""
    settings = app.settings
    processes = options.concurrency if options.concurrency is not None else settings.worker_concurrency
    threads = options.threads if options.threads is not None else settings.worker_threads
    coroutines = options.async_concurrency
    wanted = {task.executor for task in app.tasks.values()}
    sizes: dict[str, tuple[int, int]] = {}
    if processes is None:
        # Whoever asks for threads or coroutines only gets no processes on top, unless a task needs one.
        others_only = bool(threads or coroutines) and "process" not in wanted
        processes = 0 if others_only else os.cpu_count() or 1
    if processes:
        sizes["process"] = (processes, 1)
    if threads or "thread" in wanted:
        sizes["thread"] = (1, threads or DEFAULT_THREADS)
    if coroutines or "async" in wanted:
        sizes["async"] = (1, coroutines or settings.worker_async_concurrency)
    if not sizes:
        raise ImproperlyConfigured("a worker needs at least one executor: give -c, --threads or --async")
    return sizes


class Worker:
    """One worker: call `run` in the main thread of a program, or use `EmbeddedWorker` inside one."""

    def __init__(
        self,
        app: Celeriac,
        options: WorkerOptions,
        make_spawner: Callable[[str], Spawner],
        on_ready: Callable[[Worker], None] | None = None,
    ) -> None:
        """`make_spawner` gets the node name; `on_ready` is called once the worker claims messages."""
        self.app = app
        self.hostname = node_name(options.hostname)
        self.queues = tuple(options.queues) or (app.settings.task_default_queue,)
        self.sizes: Mapping[str, tuple[int, int]] = executor_sizes(app, options)
        self.grace_s = app.settings.worker_shutdown_grace_s if options.grace_s is None else options.grace_s
        self._make_spawner = make_spawner
        self._on_ready = on_ready
        self._core: Core | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> None:
        """Run until a signal asks to stop; blocking, in the main thread.

        SIGTERM or SIGINT: warm shutdown, running tasks have `grace_s` seconds.  SIGQUIT, or a second one: soft, they have
        `worker_soft_shutdown_timeout` seconds; where that is 0, cold: they are given back at once.  Raises `ImproperlyConfigured` or `OperationalError` when it can't start.
        """
        asyncio.run(self.serve(handle_signals=True))

    async def serve(self, *, handle_signals: bool) -> None:
        """Run in the current event loop until `stop`."""
        self._loop = asyncio.get_running_loop()
        options = CoreOptions(self.hostname, f"{self.hostname}/{new_id()}", self.queues, self.sizes)
        self._core = core = Core(self.app, options, self._make_spawner(self.hostname))
        if handle_signals:
            self._handle_signals(self._loop)
        try:
            await core.start()
            if self._on_ready is not None:
                self._on_ready(self)
            await core.wait()
        finally:
            core.request_stop(self.grace_s)
            await core.stop()

    def stop(self, grace_s: float | None = None) -> None:
        """Ask a running worker to stop; thread-safe, does not wait, idempotent."""
        core, loop = self._core, self._loop
        if core is not None and loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has stopped
                loop.call_soon_threadsafe(core.request_stop, self.grace_s if grace_s is None else grace_s)

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """Warm, soft, cold: each further signal makes it sooner."""
        soft_s = self.app.settings.worker_soft_shutdown_timeout
        left_s = math.inf

        def sooner(name: str, grace_s: float) -> None:
            nonlocal left_s
            # A repeated signal goes one step on: from warm to soft, from there to cold.
            left_s = grace_s if grace_s < left_s else soft_s if soft_s < left_s else 0.0
            logger.warning("%s: shutting down, running tasks have %g s; once more to make it sooner", name, left_s)
            self.stop(left_s)

        # Celery's way to have a process manager's TERM mean QUIT.
        term_s = soft_s if os.environ.get("REMAP_SIGTERM") == "SIGQUIT" else self.grace_s
        loop.add_signal_handler(signal.SIGTERM, sooner, "SIGTERM", term_s)
        loop.add_signal_handler(signal.SIGINT, sooner, "SIGINT", self.grace_s)
        loop.add_signal_handler(signal.SIGQUIT, sooner, "SIGQUIT", soft_s)


def program_worker(
    app: Celeriac,
    options: WorkerOptions,
    *,
    app_spec: str,
    workdir: str,
    loglevel: int,
    log_json: bool,
    settings: Mapping[str, Any] | None = None,
    on_ready: Callable[[Worker], None] | None = None,
) -> Worker:
    """Return the worker behind `celeriac worker`: its executors are processes that import `app_spec` themselves.

    `settings` are changed in their app as they were in `app`, by options of the command line.
    Raises `ImproperlyConfigured` for a broker that other processes can't reach.
    """
    if not app.broker.durable:
        raise ImproperlyConfigured(
            "the memory broker lives in one process only: use it with an embedded worker, or give the app another broker"
        )

    def make_spawner(hostname: str) -> Spawner:
        return ForkServerSpawner(
            app_spec,
            workdir,
            hostname,
            loglevel=loglevel,
            log_json=log_json,
            settings=settings or {},
            start_timeout_s=app.settings.worker_start_timeout_s,
        )

    return Worker(app, options, make_spawner, on_ready)


class EmbeddedWorker:
    """A worker in a thread of this process, its executors threads too: for tests and notebooks.

    Use it as a context manager.  Duties of its thread: run the core's event loop until `stop`.  Hard time limits end a task only
    between two Python instructions here; a crash of a task is a crash of the program.
    """

    def __init__(self, app: Celeriac, **options: object) -> None:
        """`options`: those of `WorkerOptions`."""
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._worker = Worker(
            app,
            WorkerOptions(**options),  # type: ignore[arg-type]
            lambda hostname: ThreadSpawner(app, hostname),
            lambda _worker: self._ready.set(),
        )
        self._thread = threading.Thread(target=self._run, name="celeriac-worker", daemon=True)

    def start(self) -> None:
        """Start it and return once it claims messages; raises what kept it from starting."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self, grace_s: float | None = None) -> None:
        """Stop it and wait until it has; raises what it died of, if it did. Idempotent."""
        self._worker.stop(grace_s)
        self._thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        try:
            asyncio.run(self._worker.serve(handle_signals=False))
        except BaseException as error:  # told to whoever starts or stops the worker
            self._error = error
        finally:
            self._ready.set()

    def __enter__(self) -> EmbeddedWorker:
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.stop()
