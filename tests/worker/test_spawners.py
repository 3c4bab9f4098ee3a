"""The fork server and its core's side, for real: full sockets, forks that fail, servers that die."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from celeriac import Celeriac
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.handle import Body
from celeriac.worker.spawners import ForkServerSpawner, ThreadSpawner

DEADLINE_S = 60.0

APP = """
import os
import time

from celeriac import Celeriac

while os.path.exists(os.path.join(os.path.dirname(__file__), "hold")):
    time.sleep(0.01)
app = Celeriac("garden", broker="memory://", backend="memory://")
fork, forks = os.fork, 0


def failing_fork():
    global forks
    forks += 1
    if forks in FAILING:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()


with open("/proc/self/cmdline") as cmdline:
    if "forkserver" in cmdline.read():
        os.fork = failing_fork
"""


class Watched:
    """A spawner, and what it told."""

    def __init__(self, directory: Path, *, failing_forks: tuple[int, ...] = ()) -> None:
        (directory / "garden.py").write_text(APP.replace("FAILING", repr(failing_forks)))
        self.spawner = ForkServerSpawner(
            "garden", str(directory), "x@y", loglevel=30, log_json=False, start_timeout_s=DEADLINE_S
        )
        self.born: list[int] = []
        self.exited: list[tuple[int, int]] = []
        self.lost: list[int] = []
        self.ours: list[socket.socket] = []

    async def __aenter__(self) -> Watched:
        await self.spawner.start(self._spawned, self._exited, self.lost.append)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.spawner.close()
        for sock in self.ours:
            sock.close()

    def _spawned(self, number: int, _body: Body) -> None:
        self.born.append(number)

    def _exited(self, number: int, code: int) -> None:
        self.exited.append((number, code))

    def spawn(self, number: int) -> None:
        jobs, their_jobs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reports, their_reports = socket.socketpair()
        self.ours += [jobs, reports]
        self.spawner.spawn(number, "process", 1, their_jobs, their_reports)

    def let_end(self) -> None:
        """Executors end when there are no more jobs to come."""
        for sock in self.ours:
            sock.close()


def fork_servers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        try:
            if child.status() != psutil.STATUS_ZOMBIE and "celeriac.worker.executor.forkserver" in child.cmdline():
                found.append(child)
        except psutil.Error:  # it has just ended
            continue
    return found


def open_files() -> int:
    return int(psutil.Process().num_fds())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)


def test_every_command_of_a_burst_reaches_a_slow_fork_server(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            assert watched.spawner._server is not None
            control = watched.spawner._server.control
            assert control is not None
            control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel's least
            (server,) = fork_servers()
            server.suspend()
            for number in range(30):
                watched.spawn(number)
            assert watched.spawner._unsent  # so the socket was full
            server.resume()
            await until(lambda: len(watched.born) == 30)
            watched.let_end()
            await until(lambda: len(watched.exited) == 30)
            assert watched.born == list(range(30))
            assert {code for _number, code in watched.exited} == {0}
            assert watched.lost == []

    asyncio.run(scenario())


def test_a_fork_that_fails_ends_nothing_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path, failing_forks=(2,)) as watched:
            servers = fork_servers()
            for number in (1, 2, 3):
                watched.spawn(number)
            await until(lambda: len(watched.born) == 2 and bool(watched.exited))
            assert (watched.born, watched.exited, watched.lost) == ([1, 3], [(2, 1)], [])
            assert fork_servers() == servers
            watched.let_end()
            await until(lambda: len(watched.exited) == 3)

    asyncio.run(scenario())


def test_executors_that_die_with_their_fork_server_are_lost_not_exited(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            watched.spawn(1)
            await until(lambda: watched.born == [1])
            (server,) = fork_servers()
            server.kill()
            await until(lambda: watched.lost == [1])
            watched.spawn(2)
            await until(lambda: watched.born == [1, 2])
            assert watched.exited == []

    asyncio.run(scenario())


def test_it_tries_until_there_is_a_fork_server_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
        home.mkdir()
        async with Watched(home) as watched:
            home.rename(elsewhere)
            fork_servers()[0].kill()
            await until(lambda: "could not be started" in caplog.text)
            watched.spawn(1)
            elsewhere.rename(home)
            await until(lambda: watched.born == [1])
            assert (watched.exited, watched.lost) == ([], [])

    asyncio.run(scenario())


def test_a_fork_server_killed_while_it_starts_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            hold = tmp_path / "hold"  # the next one takes its time to import the app
            hold.touch()
            (first,) = fork_servers()
            first.kill()
            await until(lambda: any(server != first for server in fork_servers()))
            for server in fork_servers():
                server.kill()
            await until(lambda: "trying again" in caplog.text)
            hold.unlink()
            watched.spawn(1)
            await until(lambda: watched.born == [1])
            assert len(fork_servers()) == 1

    asyncio.run(scenario())


def test_a_former_fork_server_ends_with_the_last_of_its_executors(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            watched.spawn(1)
            await until(lambda: watched.born == [1])
            (former,) = fork_servers()
            await watched.spawner.renew()
            watched.spawn(2)
            await until(lambda: watched.born == [1, 2])
            (latter,) = [server for server in fork_servers() if server != former]
            assert former.is_running()
            watched.let_end()
            await until(lambda: fork_servers() == [latter])
            assert sorted(watched.exited) == [(1, 0), (2, 0)]
            assert watched.lost == []

    asyncio.run(scenario())


def test_executors_that_die_with_a_former_fork_server_are_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            watched.spawn(1)
            await until(lambda: watched.born == [1])
            (former,) = fork_servers()
            await watched.spawner.renew()
            former.kill()
            await until(lambda: watched.lost == [1])
            assert len(fork_servers()) == 1

    asyncio.run(scenario())


def test_the_fork_server_stays_when_the_app_cannot_be_imported_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            servers = fork_servers()
            (tmp_path / "garden.py").write_text("raise RuntimeError('no app today')")
            with pytest.raises(ImproperlyConfigured, match="no app today"):
                await watched.spawner.renew()
            assert fork_servers() == servers
            watched.spawn(1)
            await until(lambda: watched.born == [1])

    asyncio.run(scenario())


def test_nothing_is_left_of_a_fork_server_that_cannot_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        watched = Watched(tmp_path)
        (tmp_path / "garden.py").write_text("raise RuntimeError('no app today')")
        files = open_files()
        with pytest.raises(ImproperlyConfigured, match="no app today"):
            await watched.spawner.start(lambda *_: None, lambda *_: None, watched.lost.append)
        assert (fork_servers(), open_files()) == ([], files)
        await watched.spawner.close()

    asyncio.run(scenario())


def test_closing_while_a_fork_server_starts_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            hold = tmp_path / "hold"  # the next one takes its time to import the app
            hold.touch()
            (first,) = fork_servers()
            first.kill()
            await until(lambda: any(server != first for server in fork_servers()))
            watched.spawn(1)
        assert fork_servers() == []

    asyncio.run(scenario())


def test_threads_that_ended_are_forgotten() -> None:
    async def scenario() -> None:
        app = Celeriac("garden", broker="memory://", backend="memory://")
        spawner = ThreadSpawner(app, "x@y")
        ends: list[tuple[int, int]] = []
        await spawner.start(lambda *_: None, lambda number, code: ends.append((number, code)), lambda _number: None)
        for number in range(5):
            jobs, their_jobs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            reports, their_reports = socket.socketpair()
            spawner.spawn(number, "process", 1, their_jobs, their_reports)
            assert len(spawner._threads) == 1
            with jobs, reports:
                jobs.shutdown(socket.SHUT_WR)
                await until(lambda number=number: (number, 0) in ends)  # type: ignore[misc]
            await until(lambda: not spawner._threads[0].is_alive())
        await spawner.close()
        app.close()

    asyncio.run(scenario())


def test_a_fork_server_whose_core_dies_before_it_says_a_word_ends_quietly() -> None:
    core, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "celeriac.worker.executor.forkserver"]
    with server, subprocess.Popen(command, stdin=server.fileno(), stderr=subprocess.PIPE) as process:
        core.close()
        server.close()
        _, complaints = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, complaints) == (0, b"")
