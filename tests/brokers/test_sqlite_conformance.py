"""The SQLite broker passes the public suite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

import pytest

from celeriac.backends.sqlite import SqliteBackend
from celeriac.brokers.embedded.sqlite import SqliteBroker
from celeriac.core.ports import Backend, Broker
from celeriac.core.settings import make_settings
from celeriac.testing.broker_suite import BrokerSuite, MakeBroker, MakeStoring, PutRaw


class TestSqliteBroker(BrokerSuite):
    @pytest.fixture
    def make_broker(self, tmp_path: Path) -> MakeBroker:
        def make(**settings: Any) -> SqliteBroker:
            return SqliteBroker(f"sqlite:///{tmp_path}/broker.db", make_settings(settings))

        return make

    @pytest.fixture
    def make_storing(self, tmp_path: Path) -> MakeStoring:
        url = f"sqlite:///{tmp_path}/broker.db"

        def make(**settings: Any) -> tuple[Broker, Backend]:
            made = make_settings({"result_backend": url, **settings})
            return SqliteBroker(url, made), SqliteBackend(url, made)

        return make

    @pytest.fixture
    def put_raw(self, tmp_path: Path) -> PutRaw:
        def put(queue: str, raw: bytes) -> None:
            with closing(sqlite3.connect(tmp_path / "broker.db")) as connection, connection:
                connection.execute(
                    "INSERT INTO messages (queue, state, priority, due, published_at, payload) VALUES (?, 0, 0, ?, 0, ?)",
                    (queue, inf, raw),
                )

        return put
