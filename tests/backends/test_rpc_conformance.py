"""`rpc://` passes the suite that every result backend passes, as far as results that are sent can be asked for."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.backends.rpc import RpcBackend
from celeriac.core.ports import Backend
from celeriac.core.settings import make_settings
from celeriac.testing.backend_suite import BackendSuite, CutConnections, MakeBackend
from tests.services import PrivateRabbit


class TestRpcBackend(BackendSuite):
    keeps = False

    @pytest.fixture
    def make_backend(self, rabbit_url: str) -> MakeBackend:
        def make(**settings: Any) -> Backend:
            return RpcBackend(make_settings({"broker_url": rabbit_url} | settings))

        return make

    @pytest.fixture
    def cut_connections(self, rabbit_server: PrivateRabbit) -> CutConnections:
        return rabbit_server.cut_connections
