"""The SQLAlchemy backend passes the suite that every result backend passes, on each database."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.backends.sqlalchemy import DatabaseBackend
from celeriac.core.ports import Backend
from celeriac.core.settings import make_settings
from celeriac.testing.backend_suite import BackendSuite, CutConnections, MakeBackend
from tests.backends.sqlalchemy_places import Place


class TestSqlalchemyBackend(BackendSuite):
    @pytest.fixture
    def make_backend(self, place: Place) -> MakeBackend:
        def make(**settings: Any) -> Backend:
            return DatabaseBackend(place.backend_url, make_settings(settings))

        return make

    @pytest.fixture
    def cut_connections(self, place: Place) -> CutConnections | None:
        return place.cut if place.has_connections else None
