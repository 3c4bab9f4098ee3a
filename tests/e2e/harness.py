"""What the end-to-end tests stand on: places to run in, workers as processes of their own, gates, and scenes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from celeriac import Celeriac
from celeriac.client.result import AsyncResult
from celeriac.core.message import DeadLetter, QueueDepth
from celeriac.core.ports import Admin
from celeriac.exceptions import BrokerUnavailable
from celeriac.torture import journal
from celeriac.torture.servers.service import Reaper, Service, wait_until
from tests.e2e.app import JOURNAL_VARIABLE, SETTINGS_VARIABLE
from tests.forge import ForgedProcess, forge
from tests.services import PrivateRabbit

ROOT = Path(__file__).parents[2]
DEADLINE_S = float(os.environ.get("E2E_DEADLINE_S", "60"))
"""Far beyond what anything takes: reached only when something is wrong."""

SETTINGS: Mapping[str, Any] = {
    "worker_lease_s": 2.0,
    "worker_heartbeat_s": 0.5,
    "publish_timeout_s": 20.0,
    "worker_async_concurrency": 20,
}
"""A short lease, so that a take-over does not take long."""

QUEUE_NUMBERS = itertools.count(1)
"""One count for all places: some share a server, and none may find another's messages in its queues."""

PROGRAM = "tests.e2e.app"
"""The program that workers run unless a scene has another."""


class Place:
    """A broker and a result backend, and the one program that sends there.

    `server`: the private server behind it, where there is one.
    """

    def __init__(self, name: str, broker_url: str, backend_url: str, directory: Path, server: Service | None) -> None:
        self.name = name
        self.broker_url = broker_url
        self.backend_url = backend_url
        self.directory = directory
        self.server = server
        self.journal_file = directory / "journal"
        self.queue_numbers = QUEUE_NUMBERS
        self.app = self.make_app()

    @property
    def stores_results(self) -> bool:
        """False where results are sent to the caller instead."""
        return self.backend_url != "rpc://"

    def inside(self) -> str:
        """What the broker itself says of its queues, for failures."""
        return self.server.ctl("list_queues", "name", "messages") if isinstance(self.server, PrivateRabbit) else ""

    def make_app(self, **settings: Any) -> Celeriac:
        """Another program that sends here."""
        return Celeriac("e2e-client", broker=self.broker_url, backend=self.backend_url, **{**SETTINGS, **settings})

    def environment(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """What tells a process of the program where it is."""
        return {
            **os.environ,
            "CELERIAC_BROKER_URL": self.broker_url,
            "CELERIAC_RESULT_BACKEND": self.backend_url,
            JOURNAL_VARIABLE: str(self.journal_file),
            SETTINGS_VARIABLE: json.dumps({**SETTINGS, **settings}),
            "PYTHONWARNINGS": "error",
        }


class WorkerProcess:
    """`celeriac worker` as a process of its own.

    Duties: 1. start it, and tell when it is ready; 2. do to it what operators and accidents do; 3. know its executors; 4. keep
    its log; 5. leave no process of it behind.
    """

    def __init__(
        self, place: Place, name: str, options: Sequence[str], settings: Mapping[str, Any], program: str = PROGRAM
    ) -> None:
        self.name = name
        self.log_file = place.directory / f"{name}.log"
        with self.log_file.open("wb") as log:
            arguments = ["-A", program, "worker", "-n", f"{name}@e2e", *options]
            self._process = forge().start(arguments, cwd=ROOT, env=place.environment(settings), stdout=log, stderr=log)
        self.core = psutil.Process(self._process.pid)

    @property
    def process(self) -> ForgedProcess:
        """The core's process, leader of the worker's process group."""
        return self._process

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_file.read_text(errors="replace")

    def wait_ready(self) -> None:
        """Return when it claims messages."""
        wait_until(lambda: self._is_ready(), f"worker {self.name} is ready", deadline_s=DEADLINE_S)

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"worker {self.name} ended with code {self._process.returncode}:\n{self.log}")
        return f"{self.name}@e2e ready." in self.log

    @property
    def executors(self) -> list[psutil.Process]:
        """The executors that are alive now: children of its fork server."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [executor for server in self.core.children() for executor in server.children()]
        return []

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the core alone."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the core with SIGKILL and see its executors die by themselves."""
        family = self.core.children(recursive=True)
        self._process.kill()
        self._process.wait(DEADLINE_S)
        _gone, alive = psutil.wait_procs(family, timeout=DEADLINE_S)
        assert not alive, f"executors outlived their killed worker: {alive}"

    def wait(self) -> int:
        """Wait until it has ended, with all its executors, and return the exit code."""
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended already
            family = self.core.children(recursive=True)
        code = self._process.wait(DEADLINE_S)
        _gone, alive = psutil.wait_procs(family, timeout=DEADLINE_S)
        assert not alive, f"executors outlived their worker: {alive}"
        return code

    def terminate(self) -> int:
        """Stop it as a process manager does, and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def clean_up(self) -> None:
        """End it, whatever its state. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE_S)


class Guard:
    """Sees to it that no worker and no file is left behind, even by a test run that is killed."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="celeriac-e2e-"))
        """Goes with the guard: the place for everybody's files."""
        self._reaper = Reaper(self.directory)

    def watch(self, process: ForgedProcess | subprocess.Popen[bytes]) -> None:
        """Watch one more process group."""
        self._reaper.watch([process])

    def close(self) -> None:
        """Kill what is left."""
        self._reaper.close()


class Fleet:
    """All workers of one test: started here, and gone with it; their logs are shown when the test fails."""

    def __init__(self, place: Place, guard: Guard, program: str = PROGRAM) -> None:
        self._place = place
        self._program = program
        self.guard = guard
        self.workers: list[WorkerProcess] = []

    def start(
        self, queue: str, *options: str, settings: Mapping[str, Any] | None = None, ready: bool = True
    ) -> WorkerProcess:
        """Start a worker on a queue, with options of the command line and settings of its own."""
        name = f"{queue}-w{len(self.workers) + 1}"
        worker = WorkerProcess(self._place, name, ["-Q", queue, *options], settings or {}, self._program)
        self.workers.append(worker)
        self.guard.watch(worker.process)
        if ready:
            worker.wait_ready()
        return worker

    def close(self) -> None:
        """End every worker and show its log to pytest."""
        for worker in self.workers:
            worker.clean_up()
            print(f"--- log of worker {worker.name}\n{worker.log}")


class Gate:
    """A file that tasks wait for."""

    def __init__(self, file: Path) -> None:
        self.path = str(file)

    def open(self) -> None:
        """Let the tasks go on."""
        Path(self.path).touch()


class Scene:
    """One test's part of a place: a queue of its own, its keys in the journal, its workers and gates."""

    def __init__(self, place: Place, guard: Guard, queue: str | None = None, program: str = PROGRAM) -> None:
        """`program`: the module whose app the workers run, and whose tasks are sent."""
        self.place = place
        self.program = program
        self.app = place.app
        self.name = f"q{next(place.queue_numbers)}"
        self.queue = queue or self.name
        self.journal = journal.Journal(place.journal_file, f"{self.name}:")
        self.fleet = Fleet(place, guard, program)
        self._gates: list[Gate] = []

    # -- things to do -------------------------------------------------------------------------------------------------

    def key(self, name: str) -> str:
        """A journal key of this scene's."""
        return f"{self.name}:{name}"

    def keys(self, name: str, count: int) -> list[str]:
        """Numbered keys of this scene's."""
        return [self.key(f"{name}-{number}") for number in range(count)]

    def gate(self) -> Gate:
        """A closed gate; it is opened at the end at the latest."""
        gate = Gate(self.place.directory / f"{self.name}-gate-{len(self._gates)}")
        self._gates.append(gate)
        return gate

    def worker(self, *options: str, **more: Any) -> WorkerProcess:
        """Start a worker on the scene's queue, by default with two process executors."""
        return self.fleet.start(self.queue, *(options or ("-c", "2")), **more)

    def send(self, task: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        """Send one call to the scene's queue."""
        return self.app.send_task(self.task_name(task), args, **{"queue": self.queue, **options})

    def send_all(self, task: str, calls: Sequence[Sequence[Any]], **options: Any) -> list[AsyncResult[Any]]:
        """Send many calls at once, in order."""
        given: Any = {"queue": self.queue, **options}

        async def send() -> list[AsyncResult[Any]]:
            return await asyncio.gather(*(self.app.asend_task(self.task_name(task), args, **given) for args in calls))

        return asyncio.run(send())

    def signature(self, task: str, *args: Any, **kwargs: Any) -> Any:
        """A signature for this scene's queue."""
        return self.app.signature(self.task_name(task), args, kwargs, queue=self.queue)

    # -- things to wait for and to see --------------------------------------------------------------------------------

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition."""
        wait_until(condition, what, deadline_s=DEADLINE_S, every_s=0.02)

    def until_started(self, *keys: str, times: int = 1) -> None:
        """Wait until every key has begun so often."""
        self.until(lambda: all(self.journal.starts(key) >= times for key in keys), f"{keys} begin {times} times")

    def until_done(self, keys: Collection[str]) -> None:
        """Wait until every key has come to its end at least once."""

        def done() -> bool:
            return not self.journal.missing(keys)

        try:
            self.until(done, "all tasks are done")
        except Exception:
            missing = sorted(self.journal.missing(keys))
            raise AssertionError(
                f"{len(missing)} of {len(keys)} never ran to their end: {missing[:10]}; {self.depth()}\n{self.place.inside()}"
            ) from None

    def until_empty(self) -> None:
        """Wait until the broker has nothing of this scene's queue left but dead letters.

        RabbitMQ does not tell what is delayed: there it says less.
        """

        def empty() -> bool:
            return self.acknowledged() and not self.depth().delayed

        self.until(empty, f"queue {self.queue} is empty")

    def acknowledged(self) -> bool:
        """Whether nothing of this scene's queue is ready or claimed; something may be delayed."""
        if isinstance(self.place.server, PrivateRabbit):  # whose clients are not told what is claimed
            return not self.place.server.unsettled(self.place.broker_url.rpartition("/")[2], self.queue)
        depth = self.depth()
        return not (depth.ready or depth.claimed)

    @contextlib.contextmanager
    def admin(self) -> Iterator[Admin]:
        """The broker's administrative side."""
        admin = self.app.broker.admin()
        try:
            yield admin
        finally:
            admin.close()

    def depth(self) -> QueueDepth:
        """What waits in the scene's queue."""
        with self.admin() as admin:
            return admin.depths([self.queue])[0]

    def dead_letters(self) -> list[DeadLetter]:
        """What was parked of the scene's queue; nothing yet while RabbitMQ is only just making the queue for it (541, noproc)."""
        with contextlib.suppress(BrokerUnavailable), self.admin() as admin:
            return admin.dead_letters(self.queue, 1000)
        return []

    def until_parked(self, count: int) -> list[DeadLetter]:
        """Wait until so many messages were parked, and return them."""
        self.until(lambda: len(self.dead_letters()) >= count, f"{count} messages are parked")
        letters = self.dead_letters()
        assert len(letters) == count, [letter.reason for letter in letters]
        return letters

    def task_name(self, name: str) -> str:
        """The full name of one of the program's tasks."""
        return f"{self.program}.{name}"

    def close(self) -> None:
        """Open all gates and end all workers."""
        for gate in self._gates:
            gate.open()
        self.fleet.close()


def task_name(name: str) -> str:
    """The full name of one of the app's tasks."""
    return f"{PROGRAM}.{name}"
