"""Databases for the tests of the SQLAlchemy integration: a SQLite file, and a PostgreSQL where one is running."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from tests.contrib.sqlalchemy_shop import Base

POSTGRESQL_URL = os.environ.get("TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/test")


@contextmanager
def made_database(kind: str, directory: Path) -> Iterator[str]:
    """Make the program's tables in a database of a kind, give its URL, and drop them again."""
    url = f"sqlite:///{directory}/shop.db" if kind == "sqlite" else POSTGRESQL_URL
    engine = create_engine(url, connect_args={"connect_timeout": 3} if kind != "sqlite" else {})
    try:
        Base.metadata.create_all(engine)
    except Exception as error:  # whatever the driver says: nobody is there
        engine.dispose()
        pytest.skip(f"no PostgreSQL at {POSTGRESQL_URL}: {type(error).__name__}")
    try:
        yield url
    finally:
        Base.metadata.drop_all(engine)
        engine.dispose()
