"""The workers of the routing tests, on one place: a narrow one for order, a wide one for everything, one more for broadcasts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from celeriac import Celeriac
from tests.e2e import routing_app
from tests.e2e.harness import SETTINGS, Guard, Place, Scene, WorkerProcess

PROGRAM = "tests.e2e.routing_app"


class RoutingScene(Scene):
    """A scene whose queues are those of the routing program; its workers stay over several tests."""

    def __init__(self, place: Place, guard: Guard) -> None:
        super().__init__(place, guard, program=PROGRAM)
        self.app = self.client()
        self.narrow = self.start("narrow", "-c", "1", "--prefetch", "0", "-Q", f"{self.name}.urgent")
        self.wide = self.start(
            "wide",
            "-c",
            "3",
            "--prefetch",
            "0",
            "-X",
            f"{self.name}.urgent",
            settings={"worker_queue_concurrency": {"slow": 1}},
        )
        self.narrow.wait_ready()
        self.wide.wait_ready()

    def client(self, **settings: Any) -> Celeriac:
        """The program as a client runs it."""
        place = self.place
        own = {**SETTINGS, **settings, "broker": place.broker_url, "backend": place.backend_url}
        app = routing_app.make_app(self.name, **own)
        for task in (routing_app.run, routing_app.again, routing_app.hold, routing_app.parent):
            app.task(name=task.name, bind=True)(task.run.__func__)  # type: ignore[attr-defined]
        return app

    def start(self, name: str, *options: str, settings: Mapping[str, Any] | None = None) -> WorkerProcess:
        """Start a worker of the program."""
        os.environ[routing_app.PREFIX_VARIABLE] = self.name
        try:
            worker = WorkerProcess(self.place, f"{self.name}-{name}", options, settings or {}, PROGRAM)
        finally:
            del os.environ[routing_app.PREFIX_VARIABLE]
        self.fleet.workers.append(worker)
        self.fleet.guard.watch(worker.process)
        return worker

    def queue_of(self, line: Any) -> str:
        """The queue that a journal's line tells of, without the prefix."""
        return str(line.more["queue"]).removeprefix(f"{self.name}.")

    def close(self) -> None:
        """End the workers, and the program."""
        super().close()
        self.app.close()
