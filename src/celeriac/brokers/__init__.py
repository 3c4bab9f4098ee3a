"""Brokers: where messages wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from celeriac.core.urls import mask, scheme
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.core.ports import Broker
    from celeriac.core.queues import QueueTable
    from celeriac.core.settings import Settings


def open_broker(
    url: str, settings: Settings, clock: Callable[[], float] = time.time, queues: QueueTable | None = None
) -> Broker:
    """Return the broker behind `url`; nothing is connected yet. `queues`: the program's, if they are not the settings' alone.

    `clock` returns Unix seconds, for the broker that lives in this process; all others have a clock of their own.

    Raises `ImproperlyConfigured` for an unknown scheme, and when the library that the scheme needs is not installed.
    """
    match scheme(url):
        case "redis" | "rediss" | "unix" | "redis+socket" | "sentinel" | "rediscluster":
            try:
                from celeriac.brokers.redis.broker import RedisBroker
            except ModuleNotFoundError as error:
                raise ImproperlyConfigured(
                    f"{mask(url)} needs the package {error.name!r}: pip install 'celeriac[redis]'"
                ) from error
            return RedisBroker(url, settings, queues)
        case "amqp" | "amqps" | "pyamqp":
            from celeriac.brokers.amqp.broker import AmqpBroker

            return AmqpBroker(url, settings, queues)
        case "sqlite":
            from celeriac.brokers.embedded.sqlite import SqliteBroker

            return SqliteBroker(url, settings, queues)
        case "memory":
            from celeriac.brokers.embedded.memory import MemoryBroker

            return MemoryBroker(url, settings, clock, lease_clock=time.monotonic, queues=queues)
    raise ImproperlyConfigured(
        f"broker URL {mask(url)!r} has no known scheme; use redis://, rediss://, sentinel://,"
        " rediscluster://, amqp://, amqps://, sqlite:/// or memory://"
    )
