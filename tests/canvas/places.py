"""Where canvases run: a broker with a backend that counts, and the program whose tasks they are."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from celeriac import Celeriac, canvas, exceptions
from celeriac.core.message import DeadLetter, QueueDepth
from celeriac.core.ports import Admin
from celeriac.torture.journal import Journal
from celeriac.torture.servers.service import Service
from tests.canvas import functions
from tests.canvas.building import Builder
from tests.e2e.harness import Place

PROGRAM = "tests.canvas.celeriac_app"
QUEUE = "canvases"


class CanvasPlace(Place):
    """One test's place: nothing of another test's is in it, neither in the broker nor in the journal."""

    def __init__(
        self,
        name: str,
        broker_url: str,
        backend_url: str,
        directory: Path,
        server: Service | None,
        *,
        settles_at_once: bool,
    ) -> None:
        """`settles_at_once`: a task's end and all that follows from it is one step of the broker."""
        super().__init__(name, broker_url, backend_url, directory, server)
        self.settles_at_once = settles_at_once
        self.journal = Journal(self.journal_file, "")
        functions.register(self.app, exceptions)
        self.builder = Builder(self.app, canvas)

    def make_app(self, **settings: Any) -> Celeriac:
        # Limits are counted with the results: RabbitMQ can't.
        return super().make_app(task_default_queue=QUEUE, coordination_url=self.backend_url, **settings)

    def environment(self, settings: Mapping[str, Any]) -> dict[str, str]:
        environment = super().environment({})
        ours = json.loads(environment.pop("E2E_SETTINGS")) | {"coordination_url": self.backend_url} | dict(settings)
        nap_s = ours.pop("nap_s", 0.0)
        return environment | {
            functions.JOURNAL_VARIABLE: str(self.journal_file),
            functions.QUEUE_VARIABLE: QUEUE,
            functions.SETTINGS_VARIABLE: json.dumps(ours),
            functions.NAP_VARIABLE: str(nap_s),
        }

    @contextlib.contextmanager
    def admin(self) -> Iterator[Admin]:
        with contextlib.closing(self.app.broker.admin()) as admin:
            yield admin

    def depth(self) -> QueueDepth:
        """What waits in the queue."""
        with self.admin() as admin:
            return admin.depths([QUEUE])[0]

    def dead_letters(self) -> list[DeadLetter]:
        with self.admin() as admin:
            return admin.dead_letters(QUEUE, 10_000)
