"""The matrix: every test that uses `scene` or `shared_scene` runs on SQLite, Redis and RabbitMQ."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Fleet, Guard, Place, Scene, WorkerProcess
from tests.services import PrivateRedis

PLACES = (
    "sqlite",
    pytest.param("redis", marks=pytest.mark.redis),
    pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
)
SHARED_QUEUE = "shared"
NOT_ON_SQLITE = {f"test_{name}.py" for name in ("arguments", "bad_input", "defects", "limits")}
"""What is the executors' affair and no broker's: asked on the brokers of production, and not a third time."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out the third broker where it has nothing of its own to say, so that the gate stays quick."""
    left_out = [
        item
        for item in items
        if item.path.parent.name == "e2e" and item.path.name in NOT_ON_SQLITE and "[sqlite" in item.name
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def e2e_redis(needs_redis: None) -> Iterator[PrivateRedis]:
    """A Redis for this directory, because the databases of the common one are emptied in turn."""
    with PrivateRedis() as server:
        yield server


@pytest.fixture(scope="session", params=PLACES)
def place(request: pytest.FixtureRequest, guard: Guard) -> Iterator[Place]:
    """A broker with its backend, shared by all tests: each has its own queue."""
    with open_place(request, guard) as made:
        yield made


@contextlib.contextmanager
def open_place(request: pytest.FixtureRequest, guard: Guard) -> Iterator[Place]:
    """The place that a fixture's parameter names."""
    directory = Path(tempfile.mkdtemp(dir=guard.directory))
    match request.param:
        case "sqlite":
            made = Place(
                "sqlite", f"sqlite:///{directory}/broker.db", f"sqlite:///{directory}/broker.db", directory, None
            )
        case "redis":
            redis = request.getfixturevalue("e2e_redis")
            made = Place("redis", redis.database_url(0), redis.database_url(0), directory, redis)
        case _:
            rabbit = request.getfixturevalue("rabbit_server")
            made = Place("rabbitmq", rabbit.fresh_url(), "rpc://", directory, rabbit)
    yield made
    made.app.close()


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    """Kills the workers that a killed test run would leave behind."""
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture
def scene(place: Place, guard: Guard) -> Iterator[Scene]:
    """A queue and workers of the test's own."""
    scene = Scene(place, guard)
    yield scene
    scene.close()


@pytest.fixture(scope="session")
def shared_worker(place: Place, guard: Guard) -> Iterator[WorkerProcess]:
    """A worker with executors of all kinds for every test that does it no harm."""
    fleet = Fleet(place, guard)
    yield fleet.start(SHARED_QUEUE, "-c", "2", "--threads", "4")
    fleet.close()


@pytest.fixture
def shared_scene(place: Place, guard: Guard, shared_worker: WorkerProcess) -> Iterator[Scene]:
    """Keys of the test's own on the shared worker's queue; the worker has to survive the test."""
    scene = Scene(place, guard, SHARED_QUEUE)
    yield scene
    scene.close()
    assert shared_worker.process.poll() is None, f"the shared worker ended:\n{shared_worker.log}"
