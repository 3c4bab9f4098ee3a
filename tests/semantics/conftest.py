"""Tasks with every option there is, through real workers on Redis and RabbitMQ: one worker per broker, shared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import PLACES, e2e_redis, guard, open_place
from tests.e2e.harness import Fleet, Guard, Place, Scene, WorkerProcess

__all__ = ["e2e_redis", "guard"]

PROGRAM = "tests.semantics.program"
QUEUE = "semantics"


@pytest.fixture(scope="session", params=PLACES[1:])
def place(request: pytest.FixtureRequest, guard: Guard) -> Iterator[Place]:
    """The brokers of production; on SQLite, tests/e2e drives the same engine."""
    with open_place(request, guard) as made:
        yield made


@pytest.fixture(scope="session")
def shared_worker(place: Place, guard: Guard) -> Iterator[WorkerProcess]:
    """A worker for every test that does it no harm."""
    fleet = Fleet(place, guard, PROGRAM)
    yield fleet.start(QUEUE, "-c", "3")
    fleet.close()


@pytest.fixture
def scene(place: Place, guard: Guard, shared_worker: WorkerProcess) -> Iterator[Scene]:
    """Keys of the test's own on the shared worker's queue."""
    scene = Scene(place, guard, QUEUE, PROGRAM)
    yield scene
    scene.close()
    assert shared_worker.process.poll() is None, f"the shared worker ended:\n{shared_worker.log}"


@pytest.fixture
def lone_scene(place: Place, guard: Guard) -> Iterator[Scene]:
    """A queue and workers of the test's own."""
    scene = Scene(place, guard, program=PROGRAM)
    yield scene
    scene.close()
