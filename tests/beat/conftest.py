"""A database for schedules, on each server that the tests can have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends.sqlalchemy_places import KINDS, Place, made_place


@pytest.fixture(scope="session", params=KINDS)
def any_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Each kind of database in turn."""
    with made_place(request.param, tmp_path_factory.mktemp("schedule"), "schedule") as place:
        yield place
