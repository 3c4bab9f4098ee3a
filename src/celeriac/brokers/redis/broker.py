"""What a `redis://`, `sentinel://` or `rediscluster://` URL opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.producer import RedisProducer
from celeriac.core.priorities import First
from celeriac.core.queues import QueueTable
from celeriac.core.settings import Settings
from celeriac.core.urls import scheme
from celeriac.transports.redis.address import SCHEMES, parse_address
from celeriac.transports.redis.cluster import key_options
from celeriac.transports.redis.durability import durability_of
from celeriac.transports.redis.results import ResultKeys

if TYPE_CHECKING:
    from celeriac.brokers.redis.admin import RedisAdmin
    from celeriac.brokers.redis.consumer import RedisConsumer
    from celeriac.brokers.redis.messenger import RedisMessenger
    from celeriac.brokers.redis.settlement import ResultPlace


class RedisBroker:
    """A Redis server (6.2 or newer) as broker, with lists and keys that Celery shares.

    Each side is imported when it is asked for: most programs only send; the other two take 17 ms and 6 MB, asyncio included.
    """

    durable = True
    urgent_first: First = "low"

    def __init__(self, url: str, settings: Settings, queues: QueueTable | None = None) -> None:
        """Take the URL apart; nothing is connected yet. Raises `ImproperlyConfigured`."""
        self.queues = queues or QueueTable(settings)
        self._address = parse_address(url, settings.broker_transport_options)
        self._settings = settings
        self._keys = Keys(key_options(url, settings.broker_transport_options))
        self._durability = durability_of(settings)

    def producer(self) -> RedisProducer:
        timeout_s = self._settings.broker_connection_timeout
        return RedisProducer(self._address, self._keys, timeout_s, self.queues, self._durability)

    def admin(self) -> RedisAdmin:
        from celeriac.brokers.redis.admin import RedisAdmin

        return RedisAdmin(self._address, self._keys, self._settings, self.queues)

    def consumer(self) -> RedisConsumer:
        from celeriac.brokers.redis.consumer import RedisConsumer

        return RedisConsumer(
            self._address, self._keys, self._settings, self._result_place(), self.queues, self._durability
        )

    def messenger(self) -> RedisMessenger:
        from celeriac.brokers.redis.messenger import RedisMessenger

        return RedisMessenger(self._address, self._keys, self._settings)

    def shown_url(self) -> str:
        return self._address.shown

    def _result_place(self) -> ResultPlace | None:
        """Return where results are, if they are on the same server, so that settling can store them."""
        url = self._settings.result_backend
        if not url or scheme(url) not in SCHEMES:
            return None
        from celeriac.brokers.redis.settlement import ResultPlace

        options = self._settings.result_backend_transport_options
        address = parse_address(url, options)
        if not address.same_server(self._address):
            return None
        return ResultPlace(address.db, ResultKeys(key_options(url, options)))
