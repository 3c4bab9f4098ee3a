"""What a worker says at its start about a Redis that can lose what it is given, and that a Redis that tells nothing is no trouble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.torture.servers.redis import PrivateRedis
from celeriac.torture.servers.redis_call import redis_call
from celeriac.torture.servers.service import free_port, wait_until
from celeriac.worker.start_warnings import start_warnings
from tests.e2e.harness import DEADLINE_S, Guard, Place, Scene

pytestmark = pytest.mark.redis


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.close()


def warnings_of(broker: str, backend: str | None = None, **settings: Any) -> list[str]:
    """What a worker of such a program says."""
    app = Celeriac("shop", broker=broker, backend=backend, **settings)
    try:
        return start_warnings(app)
    finally:
        app.close()


def test_a_redis_as_it_should_be_gives_no_line(redis_url: str) -> None:
    assert warnings_of(redis_url, redis_url) == []


def test_eviction_persistence_and_replicas_are_told_with_their_cure(own_redis: PrivateRedis) -> None:
    redis_call(own_redis.port, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "appendonly", "no")
    with PrivateRedis(options=("--replicaof", "127.0.0.1", str(own_redis.port))):
        wait_until(
            lambda: "connected_slaves:1" in redis_call(own_redis.port, "INFO", "replication"),
            "the replica is there",
            deadline_s=DEADLINE_S,
        )
        evicts, keeps_nothing, lags = warnings_of(own_redis.url, own_redis.database_url(1))
        durable = warnings_of(own_redis.url, redis_durability="replica")
    assert f"Redis at {own_redis.url} has maxmemory-policy allkeys-lru" in evicts
    assert "set 'maxmemory-policy noeviction'" in evicts
    assert "a restart loses all messages; set 'appendonly yes'" in keeps_nothing
    assert "has 1 replica, " in lags
    assert "set redis_durability='replica'" in lags
    assert durable == [evicts, keeps_nothing]


def test_snapshots_endanger_messages_and_the_redis_of_results_is_asked_for_itself(
    redis_url: str, own_redis: PrivateRedis
) -> None:
    redis_call(own_redis.port, "CONFIG", "SET", "appendonly", "no", "save", "3600 1")
    (line,) = warnings_of(own_redis.url)
    assert "writes snapshots only" in line
    assert warnings_of(redis_url, own_redis.url) == []  # results come again, or were read
    redis_call(own_redis.port, "CONFIG", "SET", "save", "")
    (line,) = warnings_of(redis_url, own_redis.url)
    assert "a restart loses all results" in line


def test_a_redis_that_may_not_be_asked_or_is_away_is_passed_over(own_redis: PrivateRedis) -> None:
    redis_call(own_redis.port, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "appendonly", "no")
    redis_call(own_redis.port, "ACL", "SETUSER", "few", "on", ">secret", "~*", "+@all", "-info", "-config")
    redis_call(own_redis.port, "ACL", "SETUSER", "some", "on", ">secret", "~*", "+@all", "-config")
    few, some = (f"redis://{user}:secret@127.0.0.1:{own_redis.port}/0" for user in ("few", "some"))
    assert warnings_of(few) == []
    evicts, keeps = warnings_of(some)
    assert "allkeys-lru" in evicts
    assert "snapshots only" in keeps  # it may be even less: what is certain is told
    assert "secret" not in evicts + keeps
    assert warnings_of(f"redis://127.0.0.1:{free_port()}/0") == []


def test_the_worker_says_it_and_works(own_redis: PrivateRedis, guard: Guard, tmp_path: Path) -> None:
    redis_call(own_redis.port, "CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    scene = Scene(Place("redis", own_redis.url, own_redis.url, tmp_path, own_redis), guard)
    worker = scene.worker("--threads", "1")
    scene.until(lambda: "WARNING" in worker.log and "maxmemory-policy volatile-lru" in worker.log, "the worker says it")
    assert scene.send("add_in_thread", 1, 2).get(timeout=DEADLINE_S) == 3
    scene.close()
    scene.app.close()
