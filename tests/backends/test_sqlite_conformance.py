"""The SQLite result backend passes the public suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celeriac.backends.sqlite import SqliteBackend
from celeriac.core.settings import make_settings
from celeriac.testing.backend_suite import BackendSuite, MakeBackend


class TestSqliteBackend(BackendSuite):
    @pytest.fixture
    def make_backend(self, tmp_path: Path) -> MakeBackend:
        def make(**settings: Any) -> SqliteBackend:
            return SqliteBackend(f"sqlite:///{tmp_path}/results.db", make_settings(settings))

        return make
