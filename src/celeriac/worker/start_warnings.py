"""What a worker says at its start about servers that can lose what they are given: one line each, with the cure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from celeriac.client.app import Celeriac
from celeriac.core.urls import scheme
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.transports.redis.address import Address

logger = logging.getLogger("celeriac.worker")

_REDIS: Final = frozenset({"redis", "rediss", "unix", "redis+socket", "sentinel", "rediscluster"})


def start_warnings(app: Celeriac) -> list[str]:
    """Return the lines, asking the servers themselves where that is needed.

    Blocking, up to `broker_connection_timeout` for each server. A server that is away, or that forbids to be asked, gives no line.
    """
    return list(dict.fromkeys(line for look in _LOOKS for line in look(app)))


async def say_start_warnings(app: Celeriac) -> None:
    """Log the lines; whatever goes wrong with that, the worker goes on."""
    try:
        for line in await asyncio.to_thread(start_warnings, app):
            logger.warning("%s", line)
    except Exception:  # a defect, but no reason not to work
        logger.exception("looking for dangers in the servers' configuration failed")


def _redis_dangers(app: Celeriac) -> Iterator[str]:
    """Eviction, persistence and replicas of the Redis that is broker, and of that for results."""
    settings, places = app.settings, app.locations
    durable = settings.redis_durability != "none"
    seen: list[Address] = []
    for url, options, is_broker in (
        (places.broker, settings.broker_transport_options, True),
        (places.backend, settings.result_backend_transport_options, False),
    ):
        if scheme(url) not in _REDIS:
            continue
        # Only where Redis is used: its client library may not be installed.
        from celeriac.transports.redis.address import parse_address
        from celeriac.transports.redis.condition import dangers_of

        try:
            address = parse_address(url, options)
        except ImproperlyConfigured:  # whoever opens it says so
            continue
        if any(address.same_server(other) for other in seen):
            continue
        seen.append(address)
        timeout_s = settings.broker_connection_timeout
        yield from dangers_of(address, timeout_s, keeps_messages=is_broker, is_durable=durable)


_LOOKS: Final[tuple[Callable[[Celeriac], Iterator[str]], ...]] = (_redis_dangers,)
