"""The Redis broker passes the suite that every broker passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from celeriac.backends.redis import RedisBackend
from celeriac.brokers.redis import RedisBroker
from celeriac.core.ports import Backend, Broker
from celeriac.core.settings import make_settings
from celeriac.testing.broker_suite import BrokerSuite, CutConnections, MakeBroker, MakeStoring, PutRaw
from tests.private_redis import PREFIX, as_default_user, documented_rights
from tests.services import PrivateRedis

DATABASES = 16


class TestRedis(BrokerSuite):
    @pytest.fixture
    def make_broker(self, redis_url: str) -> MakeBroker:
        def make(**settings: Any) -> Broker:
            return RedisBroker(redis_url, make_settings(settings))

        return make

    @pytest.fixture
    def make_storing(self, redis_url: str) -> MakeStoring:
        def make(**settings: Any) -> tuple[Broker, Backend]:
            made = make_settings({"result_backend": redis_url, **settings})
            return RedisBroker(redis_url, made), RedisBackend(redis_url, made)

        return make

    @pytest.fixture
    def put_raw(self, redis_url: str) -> PutRaw:
        def put(queue: str, raw: bytes) -> None:
            with redis.Redis.from_url(redis_url) as client:
                client.lpush(queue, raw)

        return put

    @pytest.fixture
    def cut_connections(self, redis_url: str) -> CutConnections:
        return cutter(redis_url)


@pytest.fixture(scope="module")
def limited_redis(needs_redis: None) -> Iterator[PrivateRedis]:
    """A server whose users have the rights that the operator's page lists for our prefix, and those for another one of results."""
    # A right to a pattern is a right to this very pattern.
    patterns = [
        f"&{PREFIX}/{db}.suite.news/{words}" for db in range(DATABASES) for words in ("*", "worker.*", "task.*")
    ]
    with PrivateRedis(rights=[*documented_rights(), "~res_*", "&res_*", *patterns]) as server:
        yield server


class TestRedisWithOptions(TestRedis):
    """The same with other names of keys, as a user who has no right to anything else."""

    @pytest.fixture
    def redis_url(self, limited_redis: PrivateRedis) -> str:
        return limited_redis.fresh_url()

    @pytest.fixture
    def cut_connections(self, redis_url: str) -> CutConnections:
        return cutter(as_default_user(redis_url))

    @pytest.fixture
    def make_broker(self, redis_url: str) -> MakeBroker:
        options = {"global_keyprefix": PREFIX, "sep": "|:", "priority_steps": [0, 2, 4, 6, 8]}

        def make(**settings: Any) -> Broker:
            return RedisBroker(redis_url, make_settings({"broker_transport_options": options, **settings}))

        return make

    @pytest.fixture
    def make_storing(self, limited_redis: PrivateRedis, redis_url: str) -> MakeStoring:
        """The backend is in another database of the same server."""
        backend_url = limited_redis.fresh_url()
        options = {
            "broker_transport_options": {"global_keyprefix": PREFIX},
            "result_backend_transport_options": {"global_keyprefix": "res", "result_chord_ordered": True},
        }

        def make(**settings: Any) -> tuple[Broker, Backend]:
            made = make_settings({"result_backend": backend_url, **options, **settings})
            return RedisBroker(redis_url, made), RedisBackend(backend_url, made)

        return make

    @pytest.fixture
    def put_raw(self, redis_url: str) -> PutRaw:
        def put(queue: str, raw: bytes) -> None:
            with redis.Redis.from_url(as_default_user(redis_url)) as client:
                client.lpush(f"{PREFIX}{queue}", raw)

        return put


def cutter(redis_url: str) -> Callable[[], None]:
    """Return a function that makes Redis close every connection but its own."""

    def cut() -> None:
        with redis.Redis.from_url(redis_url) as client:
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)

    return cut
