"""Fixtures for tests that need a server: shared private ones, and a place of its own in them for each test.

    redis_url, rabbit_url          an empty database, a new vhost: for every test that does no harm to the server
    own_redis, own_rabbit          a running server of the test's own: to kill, freeze, restart or configure
    redis_server, rabbit_server    the shared servers themselves (one per run): to start a second place in them

A test that uses one of them carries the marker `redis` or `rabbitmq`, and is skipped where the program is missing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import hypothesis
import pytest

from tests.services import RABBIT_MISSING, REDIS_MISSING, PrivateRabbit, PrivateRedis, find_rabbit, find_redis

pytest.register_assert_rewrite("celeriac.testing")  # so that a failure in a suite shows its values

# How long an example takes says something of the machine and nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

REDIS_FIXTURES = frozenset({"needs_redis", "redis_server", "redis_url", "own_redis"})
RABBIT_FIXTURES = frozenset({"needs_rabbit", "rabbit_server", "rabbit_url", "own_rabbit"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & REDIS_FIXTURES:
            item.add_marker(pytest.mark.redis)
        if fixtures & RABBIT_FIXTURES:
            item.add_marker(pytest.mark.rabbitmq)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write out half characters: tests log them, and a report that holds one can't be sent to the process that gathers them."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def needs_redis() -> None:
    """Skips where there is no redis-server."""
    if find_redis() is None:
        pytest.skip(REDIS_MISSING)


@pytest.fixture(scope="session")
def needs_rabbit() -> None:
    """Skips where there is no rabbitmq-server."""
    if find_rabbit() is None:
        pytest.skip(RABBIT_MISSING)


@pytest.fixture(scope="session")
def redis_server(needs_redis: None) -> Iterator[PrivateRedis]:
    """The Redis that tests share. Do it no harm: see own_redis."""
    with PrivateRedis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: PrivateRedis) -> str:
    """The URL of an empty Redis database. For a second one: `redis_server.fresh_url()`."""
    redis_server.start()  # should the test before have killed or frozen it
    return redis_server.fresh_url()


@pytest.fixture
def own_redis(needs_redis: None) -> Iterator[PrivateRedis]:
    """A running Redis of the test's own."""
    with PrivateRedis() as server:
        yield server


@pytest.fixture(scope="session")
def rabbit_server(needs_rabbit: None) -> Iterator[PrivateRabbit]:
    """The RabbitMQ node that tests share. Do it no harm: see own_rabbit."""
    with PrivateRabbit() as server:
        yield server


@pytest.fixture
def rabbit_url(rabbit_server: PrivateRabbit) -> Iterator[str]:
    """The URL of a RabbitMQ vhost in which there is nothing, but perhaps delay levels. A new one: `rabbit_server.fresh_url()`."""
    rabbit_server.start()
    vhost = rabbit_server.borrow()
    yield rabbit_server.vhost_url(vhost)
    rabbit_server.give_back(vhost)


@pytest.fixture
def own_rabbit(needs_rabbit: None) -> Iterator[PrivateRabbit]:
    """A running RabbitMQ node of the test's own (some seconds)."""
    with PrivateRabbit() as server:
        yield server
