"""Databases for tests of the SQLAlchemy backend: a SQLite file always, a PostgreSQL and a MariaDB where one is running.

Each test process has a database of its own on each server, and drops it at its end; each test finds it empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, inspect, make_url
from sqlalchemy.pool import NullPool

from tests.contrib.sqlalchemy_databases import POSTGRESQL_URL

MARIADB_URL = os.environ.get("TEST_MARIADB_URL", "mysql+pymysql://root@127.0.0.1:3306/mysql")
KINDS = ("sqlite", "postgresql", "mariadb")


class Place:
    """One database, and a way to look into it from outside."""

    def __init__(self, url: URL, server: Engine | None = None) -> None:
        self.url = url.render_as_string(hide_password=False)
        self.backend_url = f"db+{self.url}"
        self.engine = create_engine(url, poolclass=NullPool)
        self._server = server

    def empty(self) -> None:
        """Drop every table."""
        names = inspect(self.engine).get_table_names()
        with self.engine.begin() as connection:
            for name in names:
                connection.exec_driver_sql(f"DROP TABLE {name}")
            if self.engine.dialect.name == "postgresql" or getattr(self.engine.dialect, "is_mariadb", False):
                for name in ("task_id_sequence", "taskset_id_sequence"):
                    connection.exec_driver_sql(f"DROP SEQUENCE IF EXISTS {name}")

    def clear(self) -> None:
        """Delete every row; the tables stay."""
        with self.engine.begin() as connection:
            for name in inspect(connection).get_table_names():
                connection.exec_driver_sql(f"DELETE FROM {name}")

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement on the database, and return its rows."""
        with self.engine.begin() as connection:
            found = connection.exec_driver_sql(statement)
            return [tuple(row) for row in found] if found.returns_rows else []

    @property
    def has_connections(self) -> bool:
        """Whether there is a server between us and the database."""
        return self._server is not None

    def cut(self) -> None:
        """End every other connection to the database."""
        assert self._server is not None
        name = make_url(self.url).database
        with self._server.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
                )
                return
            found = connection.exec_driver_sql(f"SELECT id FROM information_schema.processlist WHERE db = '{name}'")
            for (number,) in found.all():
                connection.exec_driver_sql(f"KILL SOFT CONNECTION {number}")


@contextmanager
def made_place(kind: str, directory: Path, purpose: str = "results") -> Iterator[Place]:
    """Make a database of a kind, and drop it at the end; skips where no server answers. `purpose` is a part of its name."""
    if kind == "sqlite":
        yield Place(make_url(f"sqlite:///{directory}/results.db"))
        return
    url = make_url(MARIADB_URL if kind == "mariadb" else POSTGRESQL_URL)
    name = f"celeriac_{purpose}_{os.getpid()}"
    server = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"connect_timeout": 3})
    try:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    except Exception as error:  # whatever the driver says: nobody is there, or nothing may be made
        pytest.skip(f"no {kind} at {url.render_as_string()}: {type(error).__name__}")
    place = Place(url.set(database=name), server)
    try:
        yield place
    finally:
        place.cut()
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name}")
