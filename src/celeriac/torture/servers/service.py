"""What every private server has in common: a free port, a folder, processes, and that nothing of it stays behind."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, Self

HOST = "127.0.0.1"
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 20.0

# Programs of a system service stand here on Debian and Homebrew, where an ordinary user's PATH does not look.
SERVER_FOLDERS = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/sbin")


class Location(NamedTuple):
    """Where in the network a program is."""

    address: str
    before: tuple[str, ...]
    """Goes before its command line, to have it there."""


HERE: Final = Location(HOST, ())


class ServiceError(RuntimeError):
    """A private server did not start, stop or answer."""


def find_program(name: str, *, first: str = "") -> str | None:
    """The path of a program, looked for in the folder `first`, on PATH, and where system services have theirs."""
    return shutil.which(name, path=os.pathsep.join([first, os.environ.get("PATH", ""), *SERVER_FOLDERS]))


@functools.cache
def _ports(pid: int) -> Iterator[int]:
    """The ports that one process hands out, in an order of chance: each sixteenth, so that others that start servers just now have others."""
    ports = list(range(10_000 + pid % 16, 30_000, 16))
    random.Random().shuffle(ports)  # not by the shared generator, which may be seeded in a test
    return itertools.cycle(ports)


def free_port() -> int:
    """A free TCP port outside the range from which outgoing connections get theirs; none twice in a row.

    Inside that range, the port of a killed server could be taken by any client of this machine before the server
    is back, and a client that keeps trying to reach it could even connect to itself.
    """
    for port in itertools.islice(_ports(os.getpid()), 1250):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise ServiceError("no free port between 10000 and 30000")


def wait_until(condition: Callable[[], object], what: str, *, deadline_s: float = 30.0, every_s: float = 0.02) -> None:
    """Return as soon as condition() is true; ServiceError naming `what` if it is not within deadline_s."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise ServiceError(f"not within {deadline_s:g} s: {what}")
        time.sleep(every_s)


class Leader(Protocol):
    """A process that leads a group."""

    pid: int


class Reaper:
    """A shell that kills process groups, removes a directory and runs last commands as soon as this process closes it or dies.

    So that nothing is left even by a test run that was killed with -9: its end of the pipe closes with it.
    """

    _SCRIPT = """
        groups=
        while read -r line; do groups=$line; done
        [ -z "$groups" ] || kill -s KILL -- $groups 2>/dev/null
        [ -z "$2" ] || eval "$2"
        [ -n "$1" ] || exit 0
        tries=0
        until rm -rf -- "$1" 2>/dev/null || [ $tries -gt 50 ]; do tries=$((tries + 1)); sleep 0.1; done
    """

    def __init__(self, directory: Path | None, last: str = "") -> None:
        self._groups: set[int] = set()
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", self._SCRIPT, "reaper", "" if directory is None else str(directory), last],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is for the tests
        )

    def watch(self, processes: Sequence[Leader]) -> None:
        """From now on kill the groups of these leaders, too; a group is forgotten only when nobody of it is left.

        A dead leader may leave members behind, even stopped ones, which nothing else would ever end.
        """
        assert self._shell.stdin is not None
        self._groups.update(process.pid for process in processes)
        self._groups = {group for group in self._groups if _has_members(group)}
        self._shell.stdin.write(" ".join(f"-{group}" for group in self._groups) + "\n")
        self._shell.stdin.flush()

    def close(self) -> None:
        """Kill them now. Idempotent."""
        assert self._shell.stdin is not None
        if not self._shell.stdin.closed:
            self.watch([])  # a number of long ago may be another's by now
            self._shell.stdin.close()
        self._shell.wait()


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # nobody is left, or the number is another user's by now
        return False
    return True


class Startable(ABC):
    """What runs for the length of a `with` block, and is closed also where it does not even start."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class Service(Startable):
    """One private server.

    1. Owns its port, at its location, its directory and its processes, each the leader of a process group.
    2. Starts the server and returns when it answers.
    3. Does harm to it on request: kill, freeze.
    4. Leaves nothing behind on close: no process, no file.

    Every method blocks until done; none is thread-safe.
    """

    name: str

    def __init__(self, at: Location = HERE) -> None:
        self.at = at
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"celeriac-{self.name}-"))
        self.log_path = self.directory / "log"
        self._server: subprocess.Popen[bytes] | None = None
        self._reaper = Reaper(self.directory)

    @property
    def running(self) -> bool:
        """Whether the server's process is alive (frozen or not)."""
        return self._server is not None and self._server.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the group's leader."""
        if self._server is None:
            raise ServiceError(f"{self.name} on port {self.port} is not running: start it first")
        return self._server.pid

    def start(self) -> None:
        """Start with the data of the last run, and return when the server answers. Idempotent; thaws a frozen one."""
        if self.running:
            self.thaw()
        else:
            self._server = self._spawn(self._command())
            self._reaper.watch(self._processes())
        wait_until(self._answers_or_died, f"{self.name} answers on port {self.port}", deadline_s=START_DEADLINE_S)

    def stop(self) -> None:
        """Ask the server to stop, and return when it has. Its data stays for the next start. Idempotent."""
        if self.running:
            assert self._server is not None
            self.thaw()
            self._server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(STOP_DEADLINE_S)
        self.kill()  # what a crash of a wrapper script may have left of its group

    def kill(self) -> None:
        """Kill the server with SIGKILL. What it had written stays for the next start. Idempotent."""
        if self._server is not None:
            self._signal(signal.SIGKILL)
            self._server.wait()
            self._server = None
            self._reaper.watch(self._processes())

    def restart(self) -> None:
        """Stop and start again, with the same data on the same port."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the server's clock (SIGSTOP): its connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on. Idempotent."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the server and remove its data. Idempotent."""
        self.kill()
        self._reaper.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.killpg(self.pid, number)

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [*self.at.before, *command],
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers_or_died(self) -> bool:
        if not self.running:
            log = self.log_path.read_text(errors="replace")[-2000:]
            raise ServiceError(f"{self.name} ended while starting on port {self.port}; its log ends with:\n{log}")
        try:
            with socket.create_connection((self.at.address, self.port), timeout=2) as connection:
                return self._answers(connection)
        except OSError:  # not listening yet, or busy starting
            return False

    def _processes(self) -> list[subprocess.Popen[bytes]]:
        return [self._server] if self._server is not None else []

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self, connection: socket.socket) -> bool: ...
