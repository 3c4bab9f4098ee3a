"""Where executors come from: a fork server, or threads of this very process."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from celeriac.client.app import Celeriac
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.executor.forkserver import (
    FRAME_MAX_BYTES,
    Exited,
    Ready,
    Setup,
    Spawn,
    Spawned,
    Unable,
    decode_notice,
    encode,
)
from celeriac.worker.executor.main import serve
from celeriac.worker.handle import Body

logger = logging.getLogger("celeriac.worker")

STOP_TIMEOUT_S: Final = 5.0
"""How long a fork server that was told to end may take before it is killed."""
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


class ServerProcess(Protocol):
    """What a fork server's process has to be able to do, as `subprocess.Popen` does it."""

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class ForkServerSpawner:
    """Duties: 1. run the fork server as a program of its own; 2. send it commands; 3. pass on its notices;
    4. start another one when it dies.
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
        self._app_spec = app_spec
        self._workdir = workdir
        self._hostname = hostname
        self._loglevel = loglevel
        self._log_json = log_json
        self._start_timeout_s = start_timeout_s
        self._settings = dict(settings or {})
        self._logfile = logfile
        self._process: ServerProcess | None = None
        self._control: socket.socket | None = None
        """Our end of the socket of a fork server that is ready."""
        self._unsent: deque[tuple[Spawn, socket.socket, socket.socket]] = deque()
        self._living: set[int] = set()
        """The executors that the fork server was told to make and that have not ended."""
        self._restarting: asyncio.Task[None] | None = None
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

    async def _launch(self) -> None:
        """Start a fork server; nothing is left of one that does not get ready."""
        control: socket.socket | None = None
        process: subprocess.Popen[bytes] | None = None
        try:
            control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                command = [sys.executable, "-m", "celeriac.worker.executor.forkserver"]
                process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=self._workdir)  # noqa: ASYNC220 - forks at once
            await self._set_up(control)
        except BaseException as error:
            if control is not None:
                control.close()
            if process is not None:
                process.kill()
                await asyncio.to_thread(process.wait)
            if isinstance(error, OSError):
                raise ImproperlyConfigured(
                    f"the fork server could not be started in {self._workdir}: {error}; see that the directory exists and that"
                    " memory, processes and open files are left"
                ) from error
            raise
        self._control, self._process = control, process
        self._loop.add_reader(control, self._hear, control)

    async def _set_up(self, control: socket.socket) -> None:
        setup = Setup(
            self._app_spec,
            self._workdir,
            self._hostname,
            self._loglevel,
            self._log_json,
            os.getpid(),
            self._settings,
            self._logfile,
        )
        control.setblocking(False)
        control.send(encode(setup))
        try:
            frame = await asyncio.wait_for(
                self._loop.sock_recv(control, FRAME_MAX_BYTES), timeout=self._start_timeout_s
            )
        except TimeoutError:
            raise ImproperlyConfigured(
                f"importing -A {self._app_spec} in the executors took over {self._start_timeout_s:g} s; make the import"
                " quicker or raise worker_start_timeout_s"
            ) from None
        notice = decode_notice(frame) if frame else Unable("it ended without a word")
        if not isinstance(notice, Ready):
            reason = notice.reason if isinstance(notice, Unable) else repr(notice)
            raise ImproperlyConfigured(f"the executors could not start: {reason}")

    def spawn(self, number: int, kind: str, slots: int, jobs: socket.socket, reports: socket.socket) -> None:
        """Have an executor forked that serves these sockets, as soon as there is a fork server that takes the command."""
        self._unsent.append((Spawn(number, kind, slots), jobs, reports))
        if len(self._unsent) == 1:  # else something waits already to send them all, in their order
            self._send()

    def _send(self) -> None:
        """Send what is unsent. What stays waits for room in the socket, for better times, or for the next fork server."""
        control = self._control
        if control is None:
            return
        while self._unsent:
            command, jobs, reports = self._unsent[0]
            try:
                socket.send_fds(control, [encode(command)], [jobs.fileno(), reports.fileno()])
            except BlockingIOError:
                self._loop.add_writer(control, self._send)
                return
            except (
                OSError
            ) as error:  # the fork server has just died, as _hear will find out, or the kernel is short of memory
                logger.debug("executor %d not forked yet: %s", command.number, error)
                self._loop.remove_writer(control)
                self._loop.call_later(RESEND_PAUSE_S, self._send)
                return
            self._unsent.popleft()
            self._living.add(command.number)
            jobs.close()
            reports.close()
        self._loop.remove_writer(control)

    def _hear(self, control: socket.socket) -> None:
        while True:
            try:
                frame = control.recv(FRAME_MAX_BYTES)
            except BlockingIOError:
                return
            except OSError:
                frame = b""
            if not frame:
                self._server_lost()
                return
            match decode_notice(frame):
                case Spawned(number, pid):
                    self._spawned(number, ForkedProcess(pid))
                case Exited(number, code):
                    self._living.discard(number)
                    self._exited(number, code)

    def _server_lost(self) -> None:
        """The fork server ended, and by the kernel's hand all its children: start another one."""
        self._hang_up()
        if self._closed:
            return
        logger.critical("the fork server ended unexpectedly; starting another one")
        self._restarting = self._loop.create_task(self._restart())

    async def _restart(self) -> None:
        while True:
            try:
                await self._bury()
                await self._launch()
                break
            except Exception as error:  # it could once: perhaps the code is just being replaced, or memory is short
                logger.critical("%s; trying again", error)
                await asyncio.sleep(RELAUNCH_PAUSE_S)
        self._send()

    async def _bury(self) -> None:
        """See a lost fork server dead, then tell of the executors that ended with it."""
        if self._process is not None:
            self._process.kill()  # it may merely have lost its socket
            await asyncio.to_thread(self._process.wait)
            self._process = None
        living, self._living = self._living, set()
        for number in living:
            self._loop.call_soon(self._lost, number)

    def _hang_up(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            self._loop.remove_reader(control)
            self._loop.remove_writer(control)
            control.close()

    async def close(self) -> None:
        """End the fork server and with it every executor that is left. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.wait([self._restarting])
        self._hang_up()
        for _command, jobs, reports in self._unsent:
            jobs.close()
            reports.close()
        self._unsent.clear()
        if self._process is None:
            return
        try:
            await asyncio.to_thread(self._process.wait, STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)


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
