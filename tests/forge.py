"""`celeriac` as a process, without the time that Python takes to start and to import it: forked from one that has.

    process = forge().start(["-A", "shop", "worker"], cwd=..., env=..., stdout=log, stderr=log)

What is started is a process as any other, with its own environment, directory, session and files.  That `python -m celeriac`
itself works is seen where a test starts it by `subprocess`, as those of `celeriac worker` in tests/cli do.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

ROOT: Final = Path(__file__).parents[1]
HEADER: Final = struct.Struct(">I")
IMPORTED: Final = (
    "celeriac.backends.redis",
    "celeriac.backends.rpc",
    "celeriac.backends.sqlite",
    "celeriac.brokers.amqp.broker",
    "celeriac.brokers.embedded.sqlite",
    "celeriac.brokers.redis",
    "celeriac.cli.root",
    "celeriac.worker.worker",
)


@functools.cache
def forge() -> Forge:
    """The forge of this process, made when first wanted."""
    made = Forge()
    atexit.register(made.close)
    return made


class Forge:
    """Duties: 1. keep a process that has imported all of Celeriac, and does nothing else but fork; 2. have it fork; 3. hear from it
    how its children ended; 4. end it. Thread-safe.
    """

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.forge", str(theirs.fileno())]
            self._server = subprocess.Popen(
                command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._lock = threading.Lock()
        self._heard = b""
        self._begun: list[int] = []
        self._codes: dict[int, int] = {}

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdout: IO[Any],
        stderr: IO[Any],
        stdin: IO[Any] | None = None,
    ) -> ForgedProcess:
        """Run `celeriac` with these arguments, as the leader of a session."""
        order = json.dumps({"arguments": arguments, "cwd": str(cwd), "env": dict(env)}).encode()
        with self._lock, open(os.devnull, "rb") as nothing:
            files = [(stdin or nothing).fileno(), stdout.fileno(), stderr.fileno()]
            socket.send_fds(self._ours, [HEADER.pack(len(order))], files)
            self._ours.sendall(order)
            while not self._begun:
                self._listen(None)
            pid = self._begun.pop()
        return ForgedProcess(self, pid, ["celeriac", *arguments])

    def code_of(self, pid: int, timeout: float | None) -> int | None:
        """The exit code of a child, None while it runs; waits for its end `timeout` seconds, None: for ever."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                if pid in self._codes:
                    return self._codes[pid]
                left = None if until is None else max(0.0, until - time.monotonic())
                if not self._listen(left):
                    return None

    def close(self) -> None:
        """End the forge, not its children. Idempotent."""
        self._ours.close()
        self._server.wait()

    def _listen(self, timeout: float | None) -> bool:
        """Take in what it says within `timeout` seconds: a line for each child when it begins, and when it ends."""
        if not select.select([self._ours], [], [], timeout)[0]:
            return False
        heard = self._ours.recv(65536)
        if not heard:
            raise RuntimeError(f"the forge has ended with code {self._server.wait()}")
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            pid, code = json.loads(line)
            if code is None:
                self._codes.pop(pid, None)  # of another process, which had this number before
                self._begun.append(pid)
            else:
                self._codes[pid] = code
        return True


class ForgedProcess:
    """A process of the forge, to be handled as one of `subprocess.Popen`."""

    def __init__(self, forge: Forge, pid: int, args: Sequence[str]) -> None:
        self.pid = pid
        self.args = args
        self.returncode: int | None = None
        self._forge = forge

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._forge.code_of(self.pid, 0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its exit code."""
        if self.returncode is None:
            self.returncode = self._forge.code_of(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)


def serve(caller: socket.socket) -> list[str]:
    """Fork a child for each order until the caller closes; returns in each child, with its arguments."""
    for module in IMPORTED:
        importlib.import_module(module)
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake)
    while True:
        readable, _, _ = select.select([caller.fileno(), woken], [], [])
        if woken in readable:
            os.read(woken, 4096)
            for pid, code in ended_children():
                say(caller, pid, code)
        if caller.fileno() in readable:
            header, files, _, _ = socket.recv_fds(caller, HEADER.size, 3)
            if not header:
                os._exit(0)
            order = json.loads(receive(caller, HEADER.unpack(header)[0]))
            ready, done = os.pipe()
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                caller.close()
                become(order["cwd"], order["env"], files)
                for descriptor in (woken, wake, ready, done):
                    os.close(descriptor)
                arguments: list[str] = order["arguments"]
                return arguments
            for descriptor in (*files, done):
                os.close(descriptor)
            os.read(ready, 1)  # nothing, but not before the child has closed its end: it leads a session of its own now
            os.close(ready)
            say(caller, pid, None)


def become(cwd: str, env: Mapping[str, str], files: Sequence[int]) -> None:
    """Make of a child what a process is that was started by itself."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[0] = cwd
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    if env.get("PYTHONWARNINGS") == "error":
        warnings.simplefilter("error")


def ended_children() -> list[tuple[int, int]]:
    """Pids and exit codes of children that have ended since the last time."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found.append((ended[0], os.waitstatus_to_exitcode(ended[1])))
    return found


def receive(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += connection.recv(length - len(data))
    return data


def say(caller: socket.socket, pid: int, code: int | None) -> None:
    """Say that a child has begun, or with which code it has ended."""
    with contextlib.suppress(BrokenPipeError):  # the caller does not want to know any more
        caller.sendall(json.dumps([pid, code]).encode() + b"\n")


if __name__ == "__main__":
    given = serve(socket.socket(fileno=int(sys.argv[1])))
    from celeriac.cli import main

    sys.argv = ["celeriac", *given]
    main()
