"""The three kinds of place where canvases run: one step settles all in a file or in a Redis, or broker and backend are two servers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.canvas.places import PROGRAM, CanvasPlace
from tests.e2e.harness import Fleet, Guard

PLACES = (
    "sqlite",
    pytest.param("redis", marks=pytest.mark.redis),
    pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.redis]),
)


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    """Kills the workers that a killed test run would leave behind."""
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, guard: Guard) -> Iterator[CanvasPlace]:
    """A place of the test's own."""
    directory = Path(tempfile.mkdtemp(dir=guard.directory))
    match request.param:
        case "sqlite":
            url = f"sqlite:///{directory}/canvases.db"
            made = CanvasPlace("sqlite", url, url, directory, None, settles_at_once=True)
        case "redis":
            redis = request.getfixturevalue("redis_server")
            url = redis.fresh_url()
            made = CanvasPlace("redis", url, url, directory, redis, settles_at_once=True)
        case _:
            rabbit = request.getfixturevalue("rabbit_server")
            redis = request.getfixturevalue("redis_server")
            urls = rabbit.fresh_url(), redis.fresh_url()
            made = CanvasPlace("rabbitmq", *urls, directory, rabbit, settles_at_once=False)
    yield made
    made.app.close()


@pytest.fixture
def fleet(place: CanvasPlace, guard: Guard) -> Iterator[Fleet]:
    """The test's workers."""
    fleet = QuietFleet(place, guard, PROGRAM)
    yield fleet
    fleet.close()


class QuietFleet(Fleet):
    """Shows what its workers complain of, and not the thousands of tasks that they have run."""

    def close(self) -> None:
        for worker in self.workers:
            worker.clean_up()
            complaints = [line for line in worker.log.splitlines() if "INFO/" not in line]
            print(f"--- log of worker {worker.name}", *complaints, sep="\n")
