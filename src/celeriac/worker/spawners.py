"""Where executors come from: a fork server, or threads of this very process."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from celeriac.client.app import Celeriac
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.executor.forkserver import Exited, Setup, Spawn, Spawned
from celeriac.worker.executor.main import serve
from celeriac.worker.handle import Body
from celeriac.worker.server_handle import ServerHandle

logger = logging.getLogger("celeriac.worker")

RELAUNCH_PAUSE_S: Final = 2.0
"""Pause between two attempts to start a fork server in the place of one that died."""
RESEND_PAUSE_S: Final = 0.5
"""Pause before a command is sent again that the kernel would not take."""


class ForkedProcess:
    """An executor process, a child of the fork server."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def kill(self) -> None:
        """End it, whatever it does. Its number is safe to use: the fork server tells us of its end before reusing it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class ForkServerSpawner:
    """Duties: 1. run a fork server; 2. send it commands; 3. pass on its notices; 4. start another one when it dies; 5. on request
    start another one in its place, and let the former end with the last of its executors.
    """

    def __init__(
        self,
        app_spec: str,
        workdir: str,
        hostname: str,
        *,
        loglevel: int,
        log_json: bool,
        start_timeout_s: float,
        settings: Mapping[str, Any] | None = None,
        logfile: str | None = None,
    ) -> None:
        self._setup = Setup(app_spec, workdir, hostname, loglevel, log_json, os.getpid(), dict(settings or {}), logfile)
        self._start_timeout_s = start_timeout_s
        self._server: ServerHandle | None = None
        """The fork server that is ready."""
        self._former: set[ServerHandle] = set()
        self._unsent: deque[tuple[Spawn, socket.socket, socket.socket]] = deque()
        self._launching = asyncio.Lock()
        self._restarting: asyncio.Task[None] | None = None
        self._burials: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(
        self,
        spawned: Callable[[int, Body], None],
        exited: Callable[[int, int], None],
        lost: Callable[[int], None],
    ) -> None:
        """Start the fork server and wait until it has imported the app.

        From then on `spawned` tells of each executor's birth, `exited` of its end, and `lost` of an end through no fault of its
        tasks: the fork server died and took it along.  Raises `ImproperlyConfigured` with the reason when it can't.
        """
        self._loop = asyncio.get_running_loop()
        self._spawned, self._exited, self._lost = spawned, exited, lost
        await self._launch()

    async def renew(self) -> None:
        """Start a fork server that imports the app anew, and use it from now on; executors of the former one end in their own time.

        Raises `ImproperlyConfigured` when it can't, and then the former one goes on.
        """
        async with self._launching:
            former = self._server
            await self._launch()
        if former is not None and former.control is not None:
            self._loop.remove_writer(former.control)  # what is unsent goes to the new one
            self._former.add(former)
            self._end_if_idle(former)
        self._send()

    async def _launch(self) -> None:
        server = await self.start_server()
        if self._closed:
            await server.end()
            return
        assert server.control is not None
        self._server = server
        self._loop.add_reader(server.control, self._hear, server)

    async def start_server(self) -> ServerHandle:
        """Return a fork server that has imported the app. Raises `ImproperlyConfigured`."""
        return await ServerHandle.launch(self._setup, self._start_timeout_s)

    def spawn(self, number: int, kind: str, slots: int, jobs: socket.socket, reports: socket.socket) -> None:
        """Have an executor forked that serves these sockets, as soon as there is a fork server that takes the command."""
        self._unsent.append((Spawn(number, kind, slots), jobs, reports))
        if len(self._unsent) == 1:  # else something waits already to send them all, in their order
            self._send()

    def _send(self) -> None:
        """Send what is unsent. What stays waits for room in the socket, for better times, or for the next fork server."""
        server = self._server
        if server is None or server.control is None:
            return
        while self._unsent:
            try:
                server.send(*self._unsent[0])
            except BlockingIOError:
                self._loop.add_writer(server.control, self._send)
                return
            except (
                OSError
            ) as error:  # the fork server has just died, as _hear will find out, or the kernel is short of memory
                logger.debug("executor %d not forked yet: %s", self._unsent[0][0].number, error)
                self._loop.remove_writer(server.control)
                self._loop.call_later(RESEND_PAUSE_S, self._send)
                return
            self._unsent.popleft()
        self._loop.remove_writer(server.control)

    def _hear(self, server: ServerHandle) -> None:
        for notice in server.hear():
            match notice:
                case Spawned(number, pid):
                    self._spawned(number, ForkedProcess(pid))
                case Exited(number, code):
                    self._exited(number, code)
                case None:
                    self._server_lost(server)
                    return
        self._end_if_idle(server)

    def _end_if_idle(self, server: ServerHandle) -> None:
        if server in self._former and not server.living:
            self._former.discard(server)
            self._background(server.end())

    def _server_lost(self, server: ServerHandle) -> None:
        """A fork server ended, and by the kernel's hand all its children: start another one, if it was not a former one."""
        server.hang_up()
        if self._closed:
            return
        if server is not self._server:
            self._former.discard(server)
            self._background(self._bury(server))
            return
        logger.critical("the fork server ended unexpectedly; starting another one")
        self._server = None
        self._restarting = self._loop.create_task(self._restart(server))

    async def _restart(self, dead: ServerHandle) -> None:
        await self._bury(dead)
        while self._server is None:
            try:
                async with self._launching:
                    if self._server is None:
                        await self._launch()
                break
            except Exception as error:  # it could once: perhaps the code is just being replaced, or memory is short
                logger.critical("%s; trying again", error)
                await asyncio.sleep(RELAUNCH_PAUSE_S)
        self._send()

    async def _bury(self, server: ServerHandle) -> None:
        """See a lost fork server dead, then tell of the executors that ended with it."""
        await server.kill()  # it may merely have lost its socket
        living, server.living = server.living, set()
        for number in living:
            self._loop.call_soon(self._lost, number)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._burials.add(task)
        task.add_done_callback(self._burials.discard)

    async def close(self) -> None:
        """End the fork servers and with them every executor that is left. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.wait([self._restarting])
        for _command, jobs, reports in self._unsent:
            jobs.close()
            reports.close()
        self._unsent.clear()
        servers = [*self._former, *([self._server] if self._server is not None else [])]
        await asyncio.gather(*(server.end() for server in servers), *self._burials)


class ThreadBody:
    """An executor in a thread of the core's own process; it can be asked to end, but not made to while in C code."""

    pid = 0

    def __init__(self, thread: threading.Thread, exited: Callable[[], None]) -> None:
        self._thread = thread
        self._exited = exited

    def kill(self) -> None:
        """Give the thread up at once, and raise SystemExit in it at its next Python instruction."""
        self._exited()
        # The number of a thread that has ended may be another's by now.
        if self._thread.ident is not None and self._thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(SystemExit))


class ThreadSpawner:
    """Executors as threads of this process, for debugging, tests and notebooks (`solo`, embedded workers)."""

    def __init__(self, app: Celeriac, hostname: str) -> None:
        self._app = app
        self._hostname = hostname
        self._threads: list[threading.Thread] = []

    async def start(
        self,
        spawned: Callable[[int, Body], None],
        exited: Callable[[int, int], None],
        lost: Callable[[int], None],
    ) -> None:
        """Nothing to prepare, the app is here; and nothing is `lost`, for there is no fork server that could die."""
        self._loop = asyncio.get_running_loop()
        self._spawned, self._exited = spawned, exited

    async def renew(self) -> None:
        """Raise `ImproperlyConfigured`: modules that this very process uses can't be imported anew under its feet."""
        raise ImproperlyConfigured(
            "executors that are threads of the worker's own process (-P solo, an embedded worker) can't import the app anew;"
            " start the worker anew"
        )

    def spawn(self, number: int, kind: str, slots: int, jobs: socket.socket, reports: socket.socket) -> None:
        """Start a thread that serves these sockets."""
        # The main-thread timer is not to be had here: a synchronous executor is a thread executor with one slot.
        kind = "thread" if kind == "process" else kind

        def run() -> None:
            code = 1
            try:
                with jobs, reports:
                    self.serve(number, kind, slots, jobs, reports)
                code = 0
            except (OSError, SystemExit) as error:
                logger.debug("executor thread %d was given up: %r", number, error)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
                    self._loop.call_soon_threadsafe(self._exited, number, code)

        thread = threading.Thread(target=run, name=f"executor-{number}", daemon=True)
        self._threads = [*(other for other in self._threads if other.is_alive()), thread]
        thread.start()

        def exited() -> None:
            self._loop.call_soon(self._exited, number, -signal.SIGKILL)

        self._loop.call_soon(self._spawned, number, self.body(number, thread, exited))

    def serve(self, number: int, kind: str, slots: int, jobs: socket.socket, reports: socket.socket) -> None:
        """Be the executor, in its thread, until it ends."""
        serve(self._app, kind, slots, self._hostname, jobs, reports)

    def body(self, number: int, thread: threading.Thread, exited: Callable[[], None]) -> Body:
        """Return what the core ends the executor by."""
        return ThreadBody(thread, exited)

    async def close(self) -> None:
        """Wait shortly for the threads; those stuck in C code are left behind as daemons."""
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 1.0)
