"""Executors that are real processes, forked from the test's own: they know the tasks that a test function defines."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import traceback
import warnings
from typing import Final

from celeriac.client.app import Celeriac
from celeriac.client.current import set_current_app
from celeriac.testing import notes
from celeriac.worker.executor.forkserver import ForkServer, Setup, die_with_parent
from celeriac.worker.executor.main import ignore_stop_signals
from celeriac.worker.server_handle import ServerHandle
from celeriac.worker.spawners import ForkServerSpawner

LOOK_FOR_END_S: Final = 0.005


class Template:
    """A fork of the test's process that forks executors when it is told to.

    Only the thread that forked lives on in it, so what it forks later are clean forks of one thread, however many threads the
    test has by then.
    """

    def __init__(self, app: Celeriac, hostname: str) -> None:
        """Fork it, now and from the calling thread."""
        self.control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.notes, their_notes = notes.make_channel()
        self.control.setblocking(False)
        self._code: int | None = None
        broker = app.broker  # opened before the fork, which must not make one of its own
        sys.stdout.flush()
        sys.stderr.flush()
        parent_pid = os.getpid()
        in_main_thread = threading.current_thread() is threading.main_thread()
        with warnings.catch_warnings():
            # Python 3.12 warns of forks beside other threads. The child runs the loop of a fork server and nothing that could
            # wait for a lock which one of them holds.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                self.control.close()
                self.notes.close()
                if in_main_thread:  # it is the thread whose end counts, else the closed socket has to do
                    die_with_parent(parent_pid)
                _let_go_of_sockets({control.fileno(), their_notes.fileno()})
                ignore_stop_signals()
                notes.ForwardingHandler.install(their_notes)
                app._by_process.clear()
                if not broker.durable:
                    app._own_broker = notes.ForwardingBroker(their_notes, broker)
                set_current_app(app)
                gc.freeze()
                ForkServer(control, app, Setup("", "", hostname, logging.NOTSET, False, parent_pid)).run()
                code = 0
            except BaseException:  # nothing above this frame may run in the child
                traceback.print_exc()
            finally:
                os._exit(code)
        control.close()
        their_notes.close()

    def kill(self) -> None:
        """End it, and by the kernel's hand its executors."""
        if self._code is None:
            try:
                os.kill(self.pid, 9)
            except ProcessLookupError:
                return

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; raises `subprocess.TimeoutExpired` after `timeout` seconds, as `Popen` does."""
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif give_up_at is not None and time.monotonic() > give_up_at:
                raise subprocess.TimeoutExpired("a fork of the test's process", timeout or 0.0)
            else:
                time.sleep(LOOK_FOR_END_S)
        return self._code


def _let_go_of_sockets(keep: set[int]) -> None:
    """Let other workers of the test notice when their executors' sockets are closed: a copy here would keep them open.

    They are replaced, not closed, so that what still refers to one of them never closes another file of that number.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/dev/fd"):
        number = int(name)
        if number in keep or number == null:
            continue
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            found = socket.socket(fileno=number)
        except OSError:
            continue  # it was the list itself, or a socket of a kind unknown here
        # Pairs have no name; a connection of the program has one.
        if found.family == socket.AF_UNIX and not found.getsockname():
            os.dup2(null, number)
        found.detach()
    os.close(null)


class TestForkSpawner(ForkServerSpawner):
    """Duties: 1. those of any spawner with a fork server, which is a `Template`; 2. take in what its executors note."""

    __test__ = False

    def __init__(self, app: Celeriac, hostname: str) -> None:
        super().__init__(
            "",
            os.getcwd(),
            hostname,
            loglevel=logging.NOTSET,
            log_json=False,
            start_timeout_s=app.settings.worker_start_timeout_s,
        )
        self._app = app
        self._hostname = hostname
        self._template: Template | None = None
        self._notes: set[socket.socket] = set()

    def prepare(self) -> None:
        """Fork the process from which the next executors come, in the calling thread: it sees what the test has set up by now."""
        self._template = Template(self._app, self._hostname)

    async def start_over(self) -> None:
        """Replace the executors by forks of what was prepared; tasks that run are given out again."""
        server, self._server = self._server, None
        if server is not None:
            server.hang_up()
            self._stop_hearing_notes()
            await self._bury(server)
            await asyncio.sleep(0)
        await self._launch()
        self._send()

    async def close(self) -> None:
        """End all processes. Idempotent."""
        await super().close()
        for channel in list(self._notes):
            self._hear_notes(channel)
        self._stop_hearing_notes()

    async def start_server(self) -> ServerHandle:
        """Return what was prepared, or else a fork of what there is now."""
        template, self._template = self._template or Template(self._app, self._hostname), None
        self._notes.add(template.notes)
        self._loop.add_reader(template.notes, self._hear_notes, template.notes)
        return ServerHandle(template, template.control)

    def _hear_notes(self, channel: socket.socket) -> None:
        while channel in self._notes:
            try:
                note = notes.receive(channel)
            except BlockingIOError:
                return
            if note is None:
                self._stop_hearing(channel)
            elif isinstance(note, logging.LogRecord):
                notes.handle(note)
            else:
                self._app._connections.publisher.publish(note, self._app.settings.publish_timeout_s)

    def _stop_hearing_notes(self) -> None:
        for channel in list(self._notes):
            self._stop_hearing(channel)

    def _stop_hearing(self, channel: socket.socket) -> None:
        self._notes.discard(channel)
        self._loop.remove_reader(channel)
        channel.close()
