"""The fork server: a clean process that has imported the app and forks executors from itself.

It has no threads, no connections and no event loop, so a fork of it is safe at any time and costs a few milliseconds.  It is
started as a program of its own, with one end of a socket of sequenced packets on standard input.

Duties: 1. import the app and say so, or say why not; 2. fork an executor for each `Spawn`, with the two sockets that come with
it; 3. tell how each child ended; 4. die with its core, and let its children die with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import itertools
import logging
import multiprocessing
import os
import selectors
import signal
import socket
import sys
import traceback
from typing import Any, Final

import msgspec
from msgspec import Struct

from celeriac.client import signals
from celeriac.client.app import Celeriac
from celeriac.client.current import set_default_app
from celeriac.client.loading import AS_CELERY_VARIABLE, load_app
from celeriac.exceptions import CeleriacError
from celeriac.worker.executor.main import ignore_stop_signals, serve
from celeriac.worker.logs import configure_logging, log_printed, set_up_logging

logger = logging.getLogger("celeriac.worker")

FRAME_MAX_BYTES: Final = 64 * 1024
_PR_SET_PDEATHSIG: Final = 1


class Setup(Struct, tag="setup", array_like=True):
    """First frame down: what to import and how to log."""

    app: str
    workdir: str
    hostname: str
    loglevel: int
    log_json: bool
    core_pid: int
    settings: dict[str, Any] = {}
    """Changed after the import, as the core's app was."""
    logfile: str | None = None


class Spawn(Struct, tag="spawn", array_like=True):
    """Fork an executor; its job and report sockets come along as descriptors."""

    number: int
    kind: str
    slots: int


class Ready(Struct, tag="ready", array_like=True):
    """The app is imported."""


class Unable(Struct, tag="unable", array_like=True):
    """The app can't be imported; the server ends."""

    reason: str


class Spawned(Struct, tag="spawned", array_like=True):
    """Executor `number` has been forked."""

    number: int
    pid: int


class Exited(Struct, tag="exited", array_like=True):
    """Executor `number` has ended; negative `code`: killed by that signal."""

    number: int
    code: int


Command = Setup | Spawn
Notice = Ready | Unable | Spawned | Exited

encode: Final = msgspec.msgpack.Encoder().encode
decode_command: Final = msgspec.msgpack.Decoder(Command).decode
decode_notice: Final = msgspec.msgpack.Decoder(Notice).decode


def main() -> None:
    """Serve the core on standard input's socket until it closes."""
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    command = control.recv(FRAME_MAX_BYTES)
    if not command:  # the core has died before it could say what it wants
        control.close()
        return
    setup = decode_command(command)
    assert isinstance(setup, Setup)
    die_with_parent(setup.core_pid)
    ignore_stop_signals()
    configure_logging(setup.loglevel, as_json=setup.log_json)
    try:
        if os.environ.get(AS_CELERY_VARIABLE) == "1":
            # By name: it stands above the worker, and few programs need it.
            importlib.import_module("celeriac.compat").install()
        app = load_app(setup.app, setup.workdir)
        app.conf.override(setup.settings)
        if "include" in setup.settings:
            app.import_default_modules()
        # Receivers that change settings do so for the core and for its executors.
        signals.celeryd_init.send(setup.hostname, instance=None, conf=app.conf, options=None)
    except CeleriacError as error:
        control.send(encode(Unable(str(error)))[:FRAME_MAX_BYTES])
        return
    except BaseException:  # whatever the app's modules do at import must reach the operator
        control.send(encode(Unable(traceback.format_exc()[-8000:])))
        return
    try:
        if not set_up_logging(app, setup.loglevel, setup.logfile, setup.hostname):
            log_printed(app)
    except OSError as error:
        control.send(encode(Unable(f"the log file {setup.logfile} can't be written: {error}")))
        return
    _prepare(app)
    gc.freeze()  # what was imported is never collected in the children, so its pages stay shared
    control.send(encode(Ready()))
    ForkServer(control, app, setup).run()


def _prepare(app: Celeriac) -> None:
    """Import and work out here what the first task would in each child anew, 1 MB of memory for each; nothing is connected."""
    try:
        app.amqp.from_wire(0)
        for task in app.tasks.values():
            _ = task.policy
        if app.settings.task_send_sent_event:
            importlib.import_module("celeriac.client.letters")
    except CeleriacError:
        logger.debug("left to the first task", exc_info=True)  # which says what is wrong with it


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process as soon as its parent ends, however it ends (Linux; elsewhere EOF must do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_pid:  # it was gone before we could say so
            os._exit(1)


class ForkServer:
    """See the module."""

    def __init__(self, control: socket.socket, app: Celeriac, setup: Setup) -> None:
        self._control = control
        self._app = app
        self._setup = setup
        self._children: dict[int, int] = {}
        self._indices: dict[int, int] = {}
        """Which of the places from 1 on an executor has: unlike its number it is used again."""

    def run(self) -> None:
        """Fork and reap until the core closes its end."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        os.set_blocking(wake_read, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(wake_read, selectors.EVENT_READ)
            while True:
                for key, _events in selector.select():
                    if key.fileobj == wake_read:
                        os.read(wake_read, 4096)
                        self._reap()
                    elif not self._obey():
                        return

    def _obey(self) -> bool:
        try:
            frame, descriptors, _flags, _address = socket.recv_fds(self._control, FRAME_MAX_BYTES, 2)
        except ConnectionResetError:  # the core has closed its end without reading our last notices
            return False
        if not frame:
            return False
        command = decode_command(frame)
        assert isinstance(command, Spawn)
        server_pid = os.getpid()
        index = self._free_index()
        signals.worker_before_create_process.send(self._setup.hostname)
        try:
            pid = os.fork()
        except OSError as error:  # no memory or no process left just now: the other executors must live on
            logger.error("executor %d could not be forked: %s; it is tried again", command.number, error)
            pid = -1
        if pid == 0:
            self._become_executor(command, descriptors, server_pid, index)
        for descriptor in descriptors:
            os.close(descriptor)
        if pid < 0:
            self._tell(Exited(command.number, 1))
        else:
            self._children[pid] = command.number
            self._indices[pid] = index
            self._tell(Spawned(command.number, pid))
        return True

    def _free_index(self) -> int:
        used = set(self._indices.values())
        return next(index for index in itertools.count(1) if index not in used)

    def _tell(self, notice: Notice) -> None:
        with contextlib.suppress(BrokenPipeError):  # the core has closed its end: it is not interested any more
            self._control.send(encode(notice))

    def _become_executor(self, command: Spawn, descriptors: list[int], server_pid: int, index: int) -> None:
        code = 1
        try:
            die_with_parent(server_pid)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            multiprocessing.current_process().name = f"{command.kind}-{command.number}"  # for log lines
            jobs, reports = (socket.socket(fileno=descriptor) for descriptor in descriptors)
            set_default_app(self._app)
            self._app.log.setup_executor(index)
            self._app.on_after_fork.send(self._app)
            serve(self._app, command.kind, command.slots, self._setup.hostname, jobs, reports)
            self._app.close()
            code = 0
        except BaseException:  # nothing above this frame may run in the child
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            logging.shutdown()
            os._exit(code)

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self._children.pop(pid, None)
            self._indices.pop(pid, None)
            if number is not None:
                self._tell(Exited(number, os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    main()
