"""Places where Celery and we meet, and the programs of both: started here, and gone with the place."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from celeriac import Celeriac
from celeriac.core.message import Message, QueueDepth
from celeriac.exceptions import BrokerUnavailable
from celeriac.torture.journal import Journal
from celeriac.torture.servers.service import Reaper, wait_until
from tests.interop import functions
from tests.program import DEADLINE_S, ROOT, Program
from tests.services import PrivateRabbit, PrivateRedis

CELERY_OPTIONS = ("-l", "INFO", "-P", "solo", "--without-mingle", "--without-gossip")
"""One task at a time in the worker's own process, and nothing that only makes starting slow."""


class CeleryProducer:
    """A Celery program that sends what a test asks for; its functions are those of `tests.interop.celery_producer`."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def __getattr__(self, function: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._ask(function, args, kwargs)

    def _ask(self, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        requests, answers = self._program.process.stdin, self._program.process.stdout
        assert requests is not None
        assert answers is not None
        requests.write(json.dumps({"function": function, "args": args, "kwargs": kwargs}).encode() + b"\n")
        requests.flush()
        answer = json.loads(answers.readline() or '{"error": "the producer has ended"}')
        if "error" in answer:
            raise AssertionError(f"Celery's producer, in {function}:\n{answer['error']}\n{self._program.log}")
        return answer["value"]


class Place:
    """A broker and a result backend that both sides share, and the programs that run there.

    `queue_type`: RabbitMQ's, of the queues that either side makes.
    """

    def __init__(
        self,
        name: str,
        server: PrivateRedis | PrivateRabbit,
        broker_url: str,
        backend_url: str,
        queue_type: str = "classic",
    ) -> None:
        self.name = name
        self.server = server
        self.broker_url = broker_url
        self.backend_url = backend_url
        self.queue_type = queue_type
        self.directory = Path(tempfile.mkdtemp(prefix="celeriac-interop-"))
        self.journal = Journal(self.directory / "journal", "")
        self._reaper = Reaper(self.directory)
        self._programs: list[Program] = []
        self._apps: list[Celeriac] = []
        self._looker = self.our_app("celery")
        self._numbers = iter(range(1, 10_000))

    def key(self) -> str:
        """A new key for the journal."""
        return f"key-{next(self._numbers)}"

    def our_app(self, queue: str) -> Celeriac:
        """Our app as a program has it that sends tasks: in the process of the tests."""
        app = Celeriac(
            "interop",
            broker=self.broker_url,
            backend=self.backend_url,
            task_default_queue=queue,
            task_default_queue_type=self.queue_type,
            task_priority_direction="celery",
        )
        functions.register(app)
        self._apps.append(app)
        return app

    def our_worker(self, queue: str, *options: str, name: str = "celeriac", queue_type: str | None = None) -> Program:
        """`celeriac worker` on a queue, ready; `queue_type` is that of queues that it makes, if not the place's."""
        command = ["celeriac", "-A", "tests.interop.celeriac_app", "worker", "-n", f"{name}@ours", "-Q", queue]
        worker = self.start(f"{name}-{queue}", [*command, *(options or ("-c", "2"))], queue, queue_type=queue_type)
        worker.wait_for(f"{name}@ours ready.")
        return worker

    def celery_worker(self, queue: str) -> Program:
        """`celery worker` on a queue, ready."""
        command = ["celery", "-A", "tests.interop.celery_app", "worker", "-n", "celery@theirs", "-Q", queue]
        worker = self.start(f"celery-{queue}", [*command, *CELERY_OPTIONS], queue)
        worker.wait_for("celery@theirs ready.")
        self.until_heard("celery@theirs")
        return worker

    def until_heard(self, node: str) -> None:
        """Wait until a worker of Celery's hears remote control: over Redis that may be after it has said that it is ready."""
        wait_until(lambda: self._looker.control.ping([node], timeout=1.0), f"{node} hears", deadline_s=DEADLINE_S)

    def celery_producer(self, queue: str) -> CeleryProducer:
        """A Celery program whose tasks go to a queue."""
        return CeleryProducer(self.start("producer", ["tests.interop.celery_producer"], queue, talks=True))

    def celery_command(self, queue: str, *arguments: str) -> str:
        """Run a command of Celery's command line and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "tests.interop.celery_app", *arguments],
            cwd=ROOT,
            env={**os.environ, **self._environment(queue)},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, f"celery {arguments}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def depth(self, queue: str) -> QueueDepth:
        """What waits in a queue, as we count it."""
        with contextlib.closing(self._looker.broker.admin()) as admin:
            return admin.depths([queue])[0]

    def parked(self, queue: str) -> list[Message]:
        """What was parked of a queue; nothing yet while RabbitMQ is only just making the queue for it (541, noproc)."""
        with contextlib.suppress(BrokerUnavailable), contextlib.closing(self._looker.broker.admin()) as admin:
            return [letter.message for letter in admin.dead_letters(queue, 100) if letter.message is not None]
        return []

    def check_empty(self, queue: str) -> None:
        """See that nothing is left in a queue; None stands for what the broker can't count."""
        depth = self.depth(queue)
        assert (depth.ready, depth.delayed or 0, depth.claimed or 0) == (0, 0, 0), depth

    def until_noted(self, *keys: str) -> None:
        """Wait until the tasks with these keys have run."""
        wait_until(lambda: not self.journal.missing(keys), f"{keys} are noted", deadline_s=DEADLINE_S)

    def start(
        self,
        name: str,
        module: Sequence[str],
        queue: str,
        *,
        talks: bool = False,
        queue_type: str | None = None,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Program:
        """Start a program of this place, with further variables of its environment."""
        environment = {
            **self._environment(queue),
            functions.QUEUE_TYPE_VARIABLE: queue_type or self.queue_type,
            **variables,
        }
        program = Program(name, module, environment, self.directory, talks=talks)
        self._programs.append(program)
        self._reaper.watch([started.process for started in self._programs if started.process.poll() is None])
        return program

    def close(self) -> None:
        """End what still runs and remove the files."""
        for app in self._apps:
            app.close()
        for program in self._programs:
            program.kill()
        self._reaper.close()

    def _environment(self, queue: str) -> dict[str, str]:
        return {
            "CELERY_BROKER_URL": self.broker_url,
            "CELERY_RESULT_BACKEND": self.backend_url,
            "CELERIAC_BROKER_URL": self.broker_url,
            "CELERIAC_RESULT_BACKEND": self.backend_url,
            functions.JOURNAL_VARIABLE: str(self.directory / "journal"),
            functions.QUEUE_VARIABLE: queue,
            functions.QUEUE_TYPE_VARIABLE: self.queue_type,
        }
