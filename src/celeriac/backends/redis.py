"""The Redis result backend: Celery's keys and channels, so that both read what the other stores and finish chords together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.backends.redis_reader import RedisResultReader
from celeriac.core.settings import Settings
from celeriac.transports.redis.address import parse_address
from celeriac.transports.redis.cluster import key_options
from celeriac.transports.redis.durability import durability_of
from celeriac.transports.redis.results import ResultKeys

if TYPE_CHECKING:
    from celeriac.backends.redis_listener import RedisResultListener
    from celeriac.backends.redis_writer import RedisResultWriter


class RedisBackend:
    """A Redis server (6.2 or newer) as result backend. Each side is imported when it is asked for."""

    stores = True
    counts_chords = True
    replies = False

    def __init__(self, url: str, settings: Settings) -> None:
        """Take the URL apart; nothing is connected yet. Raises `ImproperlyConfigured`."""
        options = settings.result_backend_transport_options
        self._address = parse_address(url, options)
        self._keys = ResultKeys(key_options(url, options))
        self._connect_timeout_s = settings.broker_connection_timeout
        self._durability = durability_of(settings)

    def reader(self) -> RedisResultReader:
        return RedisResultReader(self._address, self._keys, self._connect_timeout_s, self._durability)

    def listener(self) -> RedisResultListener:
        from celeriac.backends.redis_listener import RedisResultListener

        return RedisResultListener(self._address, self._keys, self._connect_timeout_s)

    def writer(self) -> RedisResultWriter:
        from celeriac.backends.redis_writer import RedisResultWriter

        return RedisResultWriter(self._address, self._keys, self._connect_timeout_s, self._durability)

    def shown_url(self) -> str:
        return self._address.shown
