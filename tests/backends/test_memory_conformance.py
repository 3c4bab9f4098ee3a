"""The memory result backend passes the public suite."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.backends.memory import MemoryBackend
from celeriac.core.settings import make_settings
from celeriac.testing.backend_suite import BackendSuite, MakeBackend


class TestMemoryBackend(BackendSuite):
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        def make(**settings: Any) -> MemoryBackend:
            return MemoryBackend("memory://suite", make_settings(settings))

        return make
