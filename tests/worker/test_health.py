"""How a worker says that it lives and is ready, seen while parts of it stand still."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from celeriac.core.settings import make_settings
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.health import Condition, condition_of, health_told
from celeriac.worker.lease import Lease
from celeriac.worker.link import Link
from celeriac.worker.pool import Pool
from tests.cli.support import ANSWER_S, Project, RunningWorker
from tests.services import PrivateRedis, free_port, wait_until
from tests.worker.test_pool import Executors

GOOD = Condition("one@here", True, True, [], {"process": 1})
STARTING = Condition("one@here", True, False, ["it is starting"], {"process": 0})
HUNG = Condition("one@here", False, False, ["its lease was not renewed"], {"process": 1})


class Probed:
    """A worker with a port and a file, and what they say."""

    def __init__(self, project: Project, port: int, worker: RunningWorker) -> None:
        self.project = project
        self.port = port
        self.worker = worker
        self.core = psutil.Process(worker.process.pid)

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=ANSWER_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def health(self, *arguments: str) -> tuple[int, str]:
        done = self.project.run("health", *arguments)
        return done.returncode, done.stdout + done.stderr

    def until(self, path: str, status: int) -> dict[str, Any]:
        wait_until(lambda: self.get(path)[0] == status, f"{path} says {status}", deadline_s=ANSWER_S)
        return self.get(path)[1]


@pytest.fixture
def probed(tmp_path: Path, own_redis: PrivateRedis) -> Iterator[Probed]:
    project, port = Project(tmp_path, broker=own_redis.url, backend=own_redis.url), free_port()
    settings = ("worker_lease_s=1", "worker_heartbeat_s=0.1", "worker_heartbeat_file_s=0.1")
    health = ("--health-port", str(port), "--heartbeat-file", "%n.beat", "-n", "one@here")
    with project.worker("-c", "1", *health, "--", *settings) as worker:
        yield Probed(project, port, worker)


def test_parts_that_stand_still(probed: Probed, own_redis: PrivateRedis) -> None:
    assert probed.until("readyz", 200) == {
        "node": "one@here",
        "live": True,
        "ready": True,
        "problems": [],
        "executors": {"process": 1, "async": 1},
    }
    beat = probed.project.directory / "one.beat"
    wait_until(lambda: json.loads(beat.read_text())["ready"], "the file says so too", deadline_s=ANSWER_S)
    assert probed.health("--port", str(probed.port), "--ready") == (0, "one@here is ready: no problems\n")
    assert probed.health("--file", str(beat), "--ready") == (0, "one@here is ready: no problems\n")

    executors = [child for child in probed.core.children(recursive=True) if not child.children()]
    for executor in executors:
        executor.suspend()
    assert probed.get("livez")[0] == 200
    for executor in executors:
        executor.resume()

    own_redis.kill()
    assert "the broker is away" in probed.until("readyz", 503)["problems"]
    wait_until(lambda: not json.loads(beat.read_text())["ready"], "the file says so too", deadline_s=ANSWER_S)
    lost_at = time.monotonic()
    wait_until(lambda: time.monotonic() > lost_at + 3.5, "the lease has been over for long", deadline_s=ANSWER_S)
    assert probed.get("livez")[0] == 200
    assert probed.health("--file", str(beat), "--max-age", "30")[0] == 0
    own_redis.start()
    assert probed.until("readyz", 200)["live"]

    probed.core.suspend()
    code, said = probed.health("--port", str(probed.port), "--timeout", "0.2")
    assert (code, "hangs: no answer within 0.2 s" in said) == (1, True)
    wait_until(lambda: time.time() - beat.stat().st_mtime > 1, "the file is old", deadline_s=ANSWER_S)
    code, said = probed.health("--file", str(beat), "--max-age", "1")
    assert (code, "one@here is not alive: one.beat was last written" in said.replace(str(beat), "one.beat")) == (
        1,
        True,
    )
    probed.core.resume()
    probed.until("livez", 200)


def test_a_worker_that_stops_lives_and_is_not_ready(probed: Probed) -> None:
    _task_id, gate = probed.project.hold(probed.worker)
    probed.worker.process.send_signal(signal.SIGTERM)
    assert "it is stopping" in probed.until("readyz", 503)["problems"]
    assert probed.get("livez")[0] == 200
    gate.touch()
    assert probed.worker.wait() == 0
    code, said = probed.health("--port", str(probed.port))
    assert (code, "no worker answers" in said) == (1, True)
    assert not list(probed.project.directory.glob("*.beat*"))


def test_a_lease_that_nobody_renews_though_the_broker_is_there() -> None:
    settings = make_settings({"worker_lease_s": 1.0, "worker_heartbeat_s": 0.1})

    class Stuck:
        """A consumer whose second heartbeat never comes back."""

        beats = 0

        async def heartbeat(self) -> bool:
            self.beats += 1
            if self.beats > 1:
                await asyncio.Event().wait()
            return True

    async def reopen() -> None:
        pass

    async def scenario() -> Sequence[str]:
        link = Link("broker", reopen, lambda: None)
        await link.open()
        consumer: Any = Stuck()
        lease = Lease(consumer, link, 0.01, 0.02, lambda: None, lambda: None, lambda _news: None)
        pool: Pool = Executors().pool
        renewing = asyncio.create_task(lease.renew())
        try:
            async with asyncio.timeout(ANSWER_S):
                while (found := condition_of("x", pool, link, lease, settings, started=True, stopping=False)).live:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
        return found.problems

    problems = asyncio.run(scenario())
    assert any("was not renewed for 3 s, though the broker is there" in problem for problem in problems)


def test_nothing_is_told_unless_asked_for() -> None:
    async def scenario() -> None:
        async with health_told(lambda: GOOD, make_settings({})):
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("request_line", "condition", "status"),
    [
        ("GET /livez HTTP/1.1", GOOD, "200 OK"),
        ("GET /readyz?verbose HTTP/1.0", GOOD, "200 OK"),
        ("HEAD /readyz HTTP/1.1", GOOD, "200 OK"),
        ("GET /livez HTTP/1.1", STARTING, "200 OK"),
        ("GET /readyz HTTP/1.1", STARTING, "503 Service Unavailable"),
        ("GET /livez HTTP/1.1", HUNG, "503 Service Unavailable"),
        ("GET / HTTP/1.1", GOOD, "404 Not Found"),
        ("POST /livez HTTP/1.1", GOOD, "405 Method Not Allowed"),
    ],
)
def test_answers(request_line: str, condition: Condition, status: str) -> None:
    port = free_port()

    async def scenario() -> bytes:
        async with health_told(lambda: condition, make_settings({"worker_health_port": port})):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"{request_line}\r\nHost: x\r\n\r\n".encode())
            try:
                return await reader.read()
            finally:
                writer.close()

    head, _, body = asyncio.run(scenario()).partition(b"\r\n\r\n")
    assert head.splitlines()[0] == f"HTTP/1.1 {status}".encode()
    assert (body == b"") == request_line.startswith("HEAD")
    if body and status[0] in "25":
        assert json.loads(body)["problems"] == condition.problems


def test_what_is_no_request_disturbs_nobody() -> None:
    port = free_port()

    async def scenario() -> bytes:
        async with health_told(lambda: GOOD, make_settings({"worker_health_port": port})):
            for nonsense in (b"\0" * 20_000, b"GET", b""):
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(nonsense)
                writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /livez HTTP/1.1\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 200")


def test_a_port_or_file_that_cannot_be_had(tmp_path: Path) -> None:
    async def tell(**settings: Any) -> None:
        async with health_told(lambda: GOOD, make_settings(settings)):
            pass

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ImproperlyConfigured, match=f"the health port 127.0.0.1:{port} can't be opened"):
            asyncio.run(tell(worker_health_port=port))
    with pytest.raises(ImproperlyConfigured, match="can't be written: No such file or directory"):
        asyncio.run(tell(worker_heartbeat_file=str(tmp_path / "no" / "beat")))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "give either --port"),
        (("--port", "1", "--file", "x"), "give either --port"),
        (("--port", "x"), "give a port from 1 to 65535"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    done = Project(tmp_path).run("health", *arguments)
    assert (done.returncode, complaint in done.stderr) == (2, True)


def test_a_probe_imports_little() -> None:
    """It is a new program every few seconds."""
    program = (
        "import sys, celeriac.cli\n"
        "try: celeriac.cli.main(['health', '--file', 'missing'])\n"
        "except SystemExit: print([name for name in ('celeriac.cli.root', 'celeriac.worker', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, "no worker writes missing" in done.stderr) == ("[]\n", True)


def test_a_file_that_no_worker_writes(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert "no worker writes" in project.run("health", "--file", "missing").stderr
    (tmp_path / "other").write_text("hello")
    done = project.run("health", "--file", "other")
    assert (done.returncode, "is not written by a worker" in done.stderr) == (1, True)
