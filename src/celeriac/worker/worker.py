"""The worker as a program and as an object: options in, a running core out, signals in between."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct

from celeriac.client import signals
from celeriac.client.app import Celeriac
from celeriac.client.calls import new_id
from celeriac.client.content import check_worker
from celeriac.client.transactions import Relay, start_relay
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.core import Core, CoreOptions
from celeriac.worker.crew import Limits, check_limits
from celeriac.worker.health import health_told
from celeriac.worker.queues import choose_queues
from celeriac.worker.spawner import Spawner
from celeriac.worker.spawners import ForkServerSpawner, ThreadSpawner
from celeriac.worker.start_warnings import say_start_warnings
from celeriac.worker.unique import check_unique_tasks

if TYPE_CHECKING:
    from celeriac.beat import EmbeddedService

logger = logging.getLogger("celeriac.worker")

DEFAULT_THREADS = 10
"""Slots of the thread executor when a task asks for one and the settings do not say."""


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """What a worker is asked to be; None leaves it to the settings."""

    hostname: str | None = None
    queues: Sequence[str] = ()
    """Names, or `name:most` with the most tasks of that queue at once; none: those of the app."""
    exclude_queues: Sequence[str] = ()
    concurrency: int | None = None
    """Process executors."""
    threads: int | None = None
    """Slots of the thread executor."""
    async_concurrency: int | None = None
    """Slots of the async executor."""
    grace_s: float | None = None
    """How long a warm shutdown waits for running tasks."""
    autoscale: tuple[int, int] | None = None
    """Most and fewest process executors, between which the worker chooses by what there is to do; `concurrency` does not count then."""
    beat: bool = False
    """Run a scheduler, too."""


def _beat_of(app: Celeriac) -> EmbeddedService:
    from celeriac.beat import EmbeddedService  # most workers have none

    return EmbeddedService(app)


def node_name(name: str | None) -> str:
    """Return a full node name: `%h` stands for the host, `%n` for its first part, `%d` for its domain, and a name without `@` gets it."""
    host = socket.gethostname()
    if name is None:
        return f"celeriac@{host}"
    name = name.replace("%h", host).replace("%n", host.partition(".")[0]).replace("%d", host.partition(".")[2])
    return name if "@" in name else f"{name}@{host}"


def autoscale_limits(most_and_least: tuple[int, int]) -> Limits:
    """Return the limits; one executor stays where none are asked for. Raises `ImproperlyConfigured` for limits that contradict."""
    most, least = most_and_least
    limits = Limits(max(1, least), most)
    try:
        check_limits(limits)
    except ValueError as error:
        raise ImproperlyConfigured(str(error)) from None
    return limits


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
    if options.autoscale is not None:
        processes = autoscale_limits(options.autoscale).least
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
        chosen = choose_queues(app, options.queues, options.exclude_queues)
        self.queues = chosen.names
        self.queue_concurrency = chosen.concurrency
        self.sizes: Mapping[str, tuple[int, int]] = executor_sizes(app, options)
        self.autoscale = None if options.autoscale is None else autoscale_limits(options.autoscale)
        check_unique_tasks(app)
        check_worker(app)
        self.grace_s = app.settings.worker_shutdown_grace_s if options.grace_s is None else options.grace_s
        self._make_spawner = make_spawner
        self._on_ready = on_ready
        signals.celeryd_init.send(self.hostname, instance=self, conf=app.conf, options=options)
        signals.celeryd_after_setup.send(self.hostname, instance=self, conf=app.conf)
        signals.worker_init.send(self)
        self._beat = _beat_of(app) if options.beat else None
        self._core: Core | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def core(self) -> Core | None:
        """The running core, for those who look into a worker of their own process."""
        return self._core

    def run(self) -> None:
        """Run until a signal asks to stop; blocking, in the main thread.

        SIGTERM, SIGINT or SIGHUP: warm shutdown, running tasks have `grace_s` seconds.  SIGQUIT, or a second one: soft, they have
        `worker_soft_shutdown_timeout` seconds; where that is 0, cold: they are given back at once.  Raises `ImproperlyConfigured` or `OperationalError` when it can't start.
        """
        asyncio.run(self.serve(handle_signals=True))

    async def serve(self, *, handle_signals: bool) -> None:
        """Run in the current event loop until `stop`."""
        self._loop = asyncio.get_running_loop()
        options = CoreOptions(
            self.hostname,
            f"{self.hostname}/{new_id()}",
            self.queues,
            self.sizes,
            self.queue_concurrency,
            self.grace_s,
            self.autoscale,
        )
        self._core = core = Core(self.app, options, self._make_spawner(self.hostname))
        if handle_signals:
            self._handle_signals(self._loop)
        relay: Relay | None = None
        saying: asyncio.Task[None] | None = None
        health = contextlib.AsyncExitStack()
        try:
            await health.enter_async_context(health_told(core.condition, self.app.settings))
            await core.start()
            if handle_signals:
                gc.freeze()  # what was imported stays: not to look through it again and again saves 8 % of the core's time
            relay = start_relay(self.app)
            if self._beat is not None:
                self._beat.start()
            signals.worker_ready.send(self)
            if self._on_ready is not None:
                self._on_ready(self)
            if handle_signals:  # a program of its own, not a thread of another
                saying = asyncio.create_task(say_start_warnings(self.app))
            await core.wait()
        finally:
            if saying is not None:
                saying.cancel()
            if self._beat is not None:
                self._beat.service.stop()
            core.request_stop(self.grace_s)
            await core.stop()
            if relay is not None:
                await asyncio.to_thread(relay.stop)
            if self._beat is not None:
                await asyncio.to_thread(self._beat.stop)
            await health.aclose()
            signals.worker_shutdown.send(self)

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
            how = "Warm" if left_s > soft_s else "Soft" if left_s else "Cold"
            signals.worker_shutting_down.send(self.hostname, sig=name, how=how, exitcode=0)
            self.stop(left_s)

        # Celery's way to have a process manager's TERM mean QUIT.
        term_s = soft_s if os.environ.get("REMAP_SIGTERM") == "SIGQUIT" else self.grace_s
        loop.add_signal_handler(signal.SIGTERM, sooner, "SIGTERM", term_s)
        loop.add_signal_handler(signal.SIGINT, sooner, "SIGINT", self.grace_s)
        loop.add_signal_handler(signal.SIGQUIT, sooner, "SIGQUIT", soft_s)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            # Its terminal is closed, or somebody means to have the log opened anew: neither is a reason to drop dead.
            loop.add_signal_handler(signal.SIGHUP, sooner, "SIGHUP", self.grace_s)


def program_worker(
    app: Celeriac,
    options: WorkerOptions,
    *,
    app_spec: str,
    workdir: str,
    loglevel: int,
    log_json: bool,
    settings: Mapping[str, Any] | None = None,
    logfile: str | None = None,
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
            logfile=logfile,
            start_timeout_s=app.settings.worker_start_timeout_s,
        )

    return Worker(app, options, make_spawner, on_ready)


class EmbeddedWorker:
    """A worker in a thread of this process, its executors threads too: for tests and notebooks.

    Use it as a context manager.  Duties of its thread: run the core's event loop until `stop`.  Hard time limits end a task only
    between two Python instructions here; a crash of a task is a crash of the program.
    """

    def __init__(
        self,
        app: Celeriac,
        *,
        make_spawner: Callable[[str], Spawner] | None = None,
        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
        **options: object,
    ) -> None:
        """`options`: those of `WorkerOptions`; `make_spawner` gets the node name and says where executors come from, instead of threads."""
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._new_loop = new_loop
        self._worker = Worker(
            app,
            WorkerOptions(**options),  # type: ignore[arg-type]
            make_spawner or (lambda hostname: ThreadSpawner(app, hostname)),
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
            with asyncio.Runner(loop_factory=self._new_loop) as runner:
                runner.run(self._worker.serve(handle_signals=False))
        except BaseException as error:  # told to whoever starts or stops the worker
            self._error = error
        finally:
            self._ready.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.stop()
