"""A fleet: workers of both kinds on one broker, and the tools of Celery's users that run beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from celeriac.torture.servers.service import HOST, free_port, wait_until
from tests.fleet.flower import Flower
from tests.interop.harness import Place
from tests.program import DEADLINE_S, Program

OURS: Final = "celeriac"
THEIRS: Final = "celery"
OF_CELERY: Final = os.environ.get("FLEET_OF_CELERY", "") not in ("", "0")
"""Celery's workers play the part of ours: for whoever wants to see what a tool makes of those."""


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    output: str

    @property
    def replies(self) -> dict[str, Any]:
        """Node -> what it answered to a command with `--json`."""
        assert self.code == 0, self.output
        replies: Any = json.loads(self.output)
        if isinstance(replies, list):  # `control` gathers what `inspect` puts together
            replies = {node: payload for reply in replies for node, payload in reply.items()}
        return dict(replies)


class Commands:
    """A command line, Celery's or ours, in a process that lives on."""

    def __init__(self, program: Program, app: str) -> None:
        self._program = program
        self._app = app

    def __call__(self, *arguments: str) -> Answer:
        """Run `celery -A APP ARGUMENTS`, or `celeriac`."""
        requests, answers = self._program.process.stdin, self._program.process.stdout
        assert requests is not None
        assert answers is not None
        requests.write(json.dumps(["-A", self._app, *arguments]).encode() + b"\n")
        requests.flush()
        line = answers.readline()
        assert line, f"{arguments} ended their process:\n{self._program.log}"
        return Answer(*json.loads(line))

    def ask(self, command: str, *nodes: str) -> dict[str, Any]:
        """Run `inspect COMMAND` or `control COMMAND` for these nodes and return what each answered: it ends with the last of them."""
        kind, *words = command.split()
        return self(kind, *words, "--json", "-d", ",".join(nodes), "-t", str(DEADLINE_S)).replies


class Fleet(Place):
    """A place whose workers have names and options of their own."""

    def worker(
        self, node: str, queue: str, *options: str, kind: str = OURS, app: str = "", mingles: bool = False
    ) -> Program:
        """A worker with this name, ready. `mingles`: one of Celery's asks the others as it starts, which takes a second."""
        if OF_CELERY:
            kind = THEIRS
        quick = () if kind == OURS or mingles else ("--without-mingle", "--without-gossip")
        where = ["-A", app or f"tests.fleet.{kind}_app", "worker", "-n", node, "-Q", queue]
        command = [kind, *where, "-l", "INFO", *quick, *options]
        worker = self.start(node, command, queue)
        worker.wait_for(f"{node} ready.")
        if kind == THEIRS:
            self.until_heard(node)
        return worker

    def commands(self, kind: str, queue: str) -> Commands:
        """Celery's command line, or ours."""
        program = self.start(f"{kind}-commands", ["tests.fleet.commands", kind], queue, talks=True)
        return Commands(program, f"tests.fleet.{kind}_app")

    def flower(self, queue: str, *options: str, folder: Path | None = None) -> Flower:
        """Flower, answering; `options` are those before the command, as in `-A shop`, which is looked for in `folder`, too."""
        port = free_port()
        variables = {"FLOWER_UNAUTHENTICATED_API": "true"} | ({"PYTHONPATH": str(folder)} if folder else {})
        command = ["celery", *options, "flower", f"--address={HOST}", f"--port={port}"]
        program = self.start(f"flower-{port}", command, queue, variables=variables)
        flower = Flower(program, f"http://{HOST}:{port}")
        wait_until(flower.is_up, "Flower answers", deadline_s=DEADLINE_S)
        return flower

    def until_started(self, key: str) -> None:
        """Wait until the task with this key, one that holds, has begun."""
        wait_until(lambda: self.journal.starts(key), f"{key} has begun", deadline_s=DEADLINE_S)

    def gate(self) -> Path:
        """The name of a file for which `shop.hold` waits: make it, and the task ends."""
        return self.directory / self.key()
