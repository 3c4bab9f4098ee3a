"""The fleets: for each file one on Redis and one on RabbitMQ, with a database or a vhost of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import pytest

from tests.fleet.harness import Fleet
from tests.fleet.pair import Pair, make_pair
from tests.services import PrivateRedis

BROKERS: Final = (
    pytest.param("redis", marks=pytest.mark.redis),
    pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
)


@pytest.fixture(scope="session")
def fleet_redis(needs_redis: None) -> Iterator[tuple[PrivateRedis, Iterator[int]]]:
    """A Redis for this directory, because the databases of the common one are emptied in turn; and numbers of databases."""
    with PrivateRedis() as server:
        yield server, itertools.count()


@pytest.fixture(scope="module", params=BROKERS)
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A fleet without workers yet; results are kept in Redis."""
    redis, numbers = request.getfixturevalue("fleet_redis")
    results_url = redis.database_url(next(numbers))
    if request.param == "redis":
        made = Fleet("redis", redis, results_url, results_url)
    else:
        rabbit = request.getfixturevalue("rabbit_server")
        made = Fleet("rabbitmq", rabbit, rabbit.fresh_url(), results_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def pair(fleet: Fleet) -> Pair:
    """A worker of each kind."""
    return make_pair(fleet)
