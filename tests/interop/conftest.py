"""The places: every test that uses `place` runs on Redis, and on RabbitMQ with both kinds of queues that Celery makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.harness import Place
from tests.services import PrivateRedis

PLACES = (
    pytest.param("redis", marks=pytest.mark.redis),
    pytest.param("classic", marks=pytest.mark.rabbitmq),
    pytest.param("quorum", marks=pytest.mark.rabbitmq),
)


@pytest.fixture(scope="session")
def interop_redis(needs_redis: None) -> Iterator[PrivateRedis]:
    """A Redis for this directory, because the databases of the common one are emptied in turn."""
    with PrivateRedis() as server:
        yield server


@pytest.fixture(scope="session", params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A broker with a result backend, shared by all tests: each file has a queue of its own."""
    if request.param == "redis":
        redis = request.getfixturevalue("interop_redis")
        made = Place("redis", redis, redis.database_url(0), redis.database_url(1))
    else:
        rabbit = request.getfixturevalue("rabbit_server")
        made = Place(request.param, rabbit, rabbit.fresh_url(), "rpc://", request.param)
    yield made
    made.close()
