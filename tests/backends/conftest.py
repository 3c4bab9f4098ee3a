"""Fixtures for the backends' tests: the databases, each made once for a test process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.sqlalchemy_places import KINDS, Place, made_place


@pytest.fixture(scope="session", params=KINDS)
def any_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Each kind of database in turn."""
    with made_place(request.param, tmp_path_factory.mktemp("results")) as place:
        yield place


@pytest.fixture
def place(any_database: Place) -> Place:
    """Each kind of database in turn, with nothing in it."""
    any_database.clear()
    return any_database


@pytest.fixture
def file_place(tmp_path: Path) -> Iterator[Place]:
    """A SQLite file, for what does not depend on the database."""
    with made_place("sqlite", tmp_path) as place:
        yield place


@pytest.fixture
def new_place(any_database: Place) -> Place:
    """Each kind of database in turn, without tables."""
    any_database.empty()
    return any_database
