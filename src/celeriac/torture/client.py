"""A client of our own on a stage: for what a scenario sends or reads itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import closing

from celeriac import Celeriac
from celeriac.core.message import DeadLetter
from celeriac.torture.orders import QUEUE
from celeriac.torture.stage import Stage

LETTERS_MAX = 1000


@contextlib.contextmanager
def client_of(stage: Stage) -> Iterator[Celeriac]:
    """Have an app that sends to the stage's queue and reads its results, in a `with` block."""
    with Celeriac(
        "torture-client",
        broker=stage.broker_url,
        backend=stage.backend_url,
        task_default_queue=QUEUE,
        set_as_current=False,
    ) as app:
        yield app


def dead_letters(app: Celeriac) -> list[DeadLetter]:
    """Return what was parked of the stage's queue."""
    with closing(app.broker.admin()) as admin:
        return admin.dead_letters(QUEUE, LETTERS_MAX)
