"""A broker that has no room: calls are refused at once, by an error of its own kind."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from celeriac import Celeriac
from celeriac.client.publisher import Publisher
from celeriac.exceptions import BrokerFull, BrokerUnavailable
from celeriac.torture.scenarios.brokers import fill_redis
from celeriac.torture.servers.redis import PrivateRedis
from celeriac.transports.sqlite.database import Database
from celeriac.wire.task_v2 import Call, encode


def test_a_call_to_a_full_redis_is_refused_without_another_try(own_redis: PrivateRedis) -> None:
    fill_redis(own_redis.port)
    pauses: list[float] = []
    with Celeriac("full", broker=own_redis.url, backend="disabled://", set_as_current=False) as app:

        @app.task(name="work")
        def work() -> None: ...

        with pytest.raises(BrokerFull, match=r"task work\[.*\] was not sent: Redis at .* is full: OOM .*maxmemory"):
            work.delay()
        with pytest.raises(BrokerFull, match="is full"):
            asyncio.run(work.adelay())
        publisher = Publisher(app.broker.producer(), own_redis.url, sleep=pauses.append)
        with pytest.raises(BrokerFull):
            publisher.publish([encode(Call(id="1", task="work"), now=0.0, max_bytes=10_000)], 60.0)
        publisher.close()
    assert pauses == []


def test_a_sqlite_file_that_cannot_grow_is_full(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "queue.db"), BrokerUnavailable)

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 100")
        connection.execute("CREATE TABLE much (what BLOB)")
        while True:
            connection.execute("INSERT INTO much VALUES (zeroblob(100000))")

    with pytest.raises(BrokerFull, match=r"queue\.db: database or disk is full"):
        database.write(fill, 60.0)
    database.close()
