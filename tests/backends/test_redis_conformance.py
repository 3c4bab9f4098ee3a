"""The Redis backend passes the suite that every result backend passes."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from celeriac.backends.redis import RedisBackend
from celeriac.core.ports import Backend
from celeriac.core.settings import make_settings
from celeriac.testing.backend_suite import BackendSuite, CutConnections, MakeBackend


class TestRedis(BackendSuite):
    @pytest.fixture
    def make_backend(self, redis_url: str) -> MakeBackend:
        def make(**settings: Any) -> Backend:
            return RedisBackend(redis_url, make_settings(settings))

        return make

    @pytest.fixture
    def cut_connections(self, redis_url: str) -> CutConnections:
        def cut() -> None:
            with redis.Redis.from_url(redis_url) as client:
                for kind in ("normal", "pubsub"):
                    client.client_kill_filter(_type=kind, skipme=True)

        return cut


class TestRedisWithPrefix(TestRedis):
    """The same under a prefix."""

    @pytest.fixture
    def make_backend(self, redis_url: str) -> MakeBackend:
        def make(**settings: Any) -> Backend:
            options = {"result_backend_transport_options": {"global_keyprefix": "shop"}}
            return RedisBackend(redis_url, make_settings({**options, **settings}))

        return make
