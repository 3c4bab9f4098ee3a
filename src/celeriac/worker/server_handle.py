"""One fork server as its core sees it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Final, Protocol, Self

from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.executor.forkserver import (
    FRAME_MAX_BYTES,
    Exited,
    Notice,
    Ready,
    Setup,
    Spawn,
    Unable,
    decode_notice,
    encode,
)

STOP_TIMEOUT_S: Final = 5.0
"""How long a fork server that was told to end may take before it is killed."""


class ServerProcess(Protocol):
    """What a fork server's process has to be able to do, as `subprocess.Popen` does it."""

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class ServerHandle:
    """Duties: 1. start a fork server and hear whether it gets ready; 2. send it commands; 3. cut its notices; 4. know which of its
    executors live; 5. see it dead.
    """

    def __init__(self, process: ServerProcess, control: socket.socket) -> None:
        self.control: socket.socket | None = control
        """Our end of its socket, as long as anything can be said."""
        self.living: set[int] = set()
        """The executors that it was told to make and that have not ended."""
        self._process = process

    @classmethod
    async def launch(cls, setup: Setup, start_timeout_s: float) -> Self:
        """Start a fork server and wait until it has imported the app; nothing is left of one that does not get ready.

        Raises `ImproperlyConfigured` with the reason.
        """
        control: socket.socket | None = None
        process: subprocess.Popen[bytes] | None = None
        try:
            control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                command = [sys.executable, "-m", "celeriac.worker.executor.forkserver"]
                process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=setup.workdir)  # noqa: ASYNC220 - forks at once
            await _set_up(control, setup, start_timeout_s)
        except BaseException as error:
            if control is not None:
                control.close()
            if process is not None:
                process.kill()
                await asyncio.to_thread(process.wait)
            if isinstance(error, OSError):
                raise ImproperlyConfigured(
                    f"the fork server could not be started in {setup.workdir}: {error}; see that the directory exists and that"
                    " memory, processes and open files are left"
                ) from error
            raise
        return cls(process, control)

    def send(self, command: Spawn, jobs: socket.socket, reports: socket.socket) -> None:
        """Have an executor forked that serves these sockets, and close them here.

        Raises `BlockingIOError` while the socket is full, another `OSError` when the fork server has died or the kernel is short of
        memory; nothing was sent then.
        """
        if self.control is None:
            raise BrokenPipeError("the fork server has ended")
        socket.send_fds(self.control, [encode(command)], [jobs.fileno(), reports.fileno()])
        self.living.add(command.number)
        jobs.close()
        reports.close()

    def hear(self) -> Iterator[Notice | None]:
        """Yield the notices that have arrived; None at last when the fork server has ended."""
        while self.control is not None:
            try:
                frame = self.control.recv(FRAME_MAX_BYTES)
            except BlockingIOError:
                return
            except OSError:
                frame = b""
            if not frame:
                yield None
                return
            notice = decode_notice(frame)
            if isinstance(notice, Exited):
                self.living.discard(notice.number)
            yield notice

    def hang_up(self) -> None:
        """Close the socket: the fork server ends, and takes along what is left of its executors. Idempotent."""
        control, self.control = self.control, None
        if control is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(control)
            loop.remove_writer(control)
            control.close()

    async def kill(self) -> None:
        """End it now, whatever its state, and wait until it has."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    async def end(self) -> None:
        """Hang up, and wait until it has ended."""
        self.hang_up()
        try:
            await asyncio.to_thread(self._process.wait, STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            await self.kill()


async def _set_up(control: socket.socket, setup: Setup, start_timeout_s: float) -> None:
    control.setblocking(False)
    control.send(encode(setup))
    loop = asyncio.get_running_loop()
    try:
        frame = await asyncio.wait_for(loop.sock_recv(control, FRAME_MAX_BYTES), timeout=start_timeout_s)
    except TimeoutError:
        raise ImproperlyConfigured(
            f"importing -A {setup.app} in the executors took over {start_timeout_s:g} s; make the import"
            " quicker or raise worker_start_timeout_s"
        ) from None
    notice = decode_notice(frame) if frame else Unable("it ended without a word")
    if not isinstance(notice, Ready):
        reason = notice.reason if isinstance(notice, Unable) else repr(notice)
        raise ImproperlyConfigured(f"the executors could not start: {reason}")
