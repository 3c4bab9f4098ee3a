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
from collections.abc import Callable, Mapping
from typing import Any, Final

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


class ForkedProcess:
    """An executor process, a child of the fork server."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def kill(self) -> None:
        """End it, whatever it does. Its number is safe to use: the fork server tells us of its end before reusing it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class ForkServerSpawner:
    """Duties: 1. run the fork server as a program of its own; 2. send it commands; 3. pass on its notices."""

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
    ) -> None:
        self._app_spec = app_spec
        self._workdir = workdir
        self._hostname = hostname
        self._loglevel = loglevel
        self._log_json = log_json
        self._start_timeout_s = start_timeout_s
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._living: set[int] = set()
        self._closed = False

    async def start(self, spawned: Callable[[int, Body], None], exited: Callable[[int, int], None]) -> None:
        """Start the fork server and wait until it has imported the app.

        Raises `ImproperlyConfigured` with the reason when it can't.
        """
        self._loop = asyncio.get_running_loop()
        self._spawned, self._exited = spawned, exited
        await self._launch()

    async def _launch(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "celeriac.worker.executor.forkserver"]
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=self._workdir)  # noqa: ASYNC220 - forks at once
        setup = Setup(
            self._app_spec,
            self._workdir,
            self._hostname,
            self._loglevel,
            self._log_json,
            os.getpid(),
            self._settings,
        )
        self._control.setblocking(False)
        self._control.send(encode(setup))
        try:
            frame = await asyncio.wait_for(
                self._loop.sock_recv(self._control, FRAME_MAX_BYTES), timeout=self._start_timeout_s
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
        self._loop.add_reader(self._control, self._hear)

    def spawn(self, number: int, kind: str, slots: int, jobs: socket.socket, reports: socket.socket) -> None:
        """Have an executor forked that serves these sockets."""
        with jobs, reports:
            self._living.add(number)
            try:
                socket.send_fds(self._control, [encode(Spawn(number, kind, slots))], [jobs.fileno(), reports.fileno()])
            except OSError:
                # The fork server has just died: _hear will find out and tell the end of everything that it had.
                logger.debug("executor %d not forked: the fork server is gone", number)

    def _hear(self) -> None:
        while True:
            try:
                frame = self._control.recv(FRAME_MAX_BYTES)
            except BlockingIOError:
                return
            except OSError:
                frame = b""
            if not frame:
                self._lost()
                return
            match decode_notice(frame):
                case Spawned(number, pid):
                    self._spawned(number, ForkedProcess(pid))
                case Exited(number, code):
                    self._living.discard(number)
                    self._exited(number, code)

    def _lost(self) -> None:
        """The fork server ended, and by the kernel's hand all its children: start another one."""
        self._loop.remove_reader(self._control)
        self._control.close()
        if self._closed:
            return
        logger.critical("the fork server ended unexpectedly; starting another one")
        self._restarting = self._loop.create_task(self._restart())

    async def _restart(self) -> None:
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)
        while True:
            try:
                await self._launch()
                break
            except ImproperlyConfigured as error:  # it could once: perhaps the code is just being replaced
                logger.critical("%s; trying again", error)
                await asyncio.sleep(RELAUNCH_PAUSE_S)
        living, self._living = self._living, set()
        for number in living:
            self._exited(number, -signal.SIGKILL)

    async def close(self) -> None:
        """End the fork server and with it every executor that is left. Idempotent."""
        if self._closed or self._process is None:
            return
        self._closed = True
        with contextlib.suppress(OSError, ValueError):
            self._loop.remove_reader(self._control)
        self._control.close()
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

    async def start(self, spawned: Callable[[int, Body], None], exited: Callable[[int, int], None]) -> None:
        """Nothing to prepare: the app is here."""
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
                    serve(self._app, kind, slots, self._hostname, jobs, reports)
                code = 0
            except (OSError, SystemExit) as error:
                logger.debug("executor thread %d was given up: %r", number, error)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
                    self._loop.call_soon_threadsafe(self._exited, number, code)

        thread = threading.Thread(target=run, name=f"executor-{number}", daemon=True)
        self._threads.append(thread)
        thread.start()

        def exited() -> None:
            self._loop.call_soon(self._exited, number, -signal.SIGKILL)

        self._loop.call_soon(self._spawned, number, ThreadBody(thread, exited))

    async def close(self) -> None:
        """Wait shortly for the threads; those stuck in C code are left behind as daemons."""
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 1.0)
