"""Private Redis and RabbitMQ servers for tests: own free ports, own directory, nothing left when the tests are gone.

    with PrivateRedis() as redis:
        ...                    # redis.url; redis.kill(); redis.start(); redis.freeze(); redis.thaw()

Most tests want the shared ones of conftest.py instead: the fixtures `redis_url` and `rabbit_url`.
"""

from __future__ import annotations

from celeriac.torture.servers.rabbit import RABBIT_MISSING, find_rabbit
from celeriac.torture.servers.redis import REDIS_MISSING, find_redis
from celeriac.torture.servers.service import ServiceError, free_port, wait_until
from tests.private_rabbit import PrivateRabbit
from tests.private_redis import PrivateRedis

__all__ = [
    "RABBIT_MISSING",
    "REDIS_MISSING",
    "PrivateRabbit",
    "PrivateRedis",
    "ServiceError",
    "find_rabbit",
    "find_redis",
    "free_port",
    "wait_until",
]
