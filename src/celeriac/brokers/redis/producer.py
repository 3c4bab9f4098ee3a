"""The sending side of Redis."""

from __future__ import annotations

import time
from collections.abc import Sequence

from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.outgoing import publish_commands
from celeriac.core.message import Message
from celeriac.exceptions import PublishTimeout
from celeriac.transports.redis.address import Address
from celeriac.transports.redis.blocking import Pool
from celeriac.transports.redis.errors import OutcomeUnknown, broker_errors
from celeriac.transports.redis.protocol import pack_all, raise_errors


class RedisProducer:
    """Sends messages: a batch is one round trip, and arrives whole or not at all.

    Thread-safe, fork-safe, blocking; never longer than the deadline of each call.
    """

    def __init__(self, address: Address, keys: Keys, connect_timeout_s: float) -> None:
        self._address = address
        self._keys = keys
        self._pool = Pool(address, connect_timeout_s)
        self._errors = broker_errors(address)
        self._known_queues: frozenset[str] = frozenset()

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Send all messages within `timeout_s` seconds; see `Producer.publish`.

        Raises `BrokerUnavailable` when nothing was sent for certain, `PublishTimeout` when that is not known,
        `OperationalError` when Redis refuses us, `EncodeError` for a message that cannot be written.
        """
        if not messages:
            return
        deadline = time.monotonic() + timeout_s
        commands = publish_commands(self._keys, messages, time.time(), self._known_queues)
        with self._errors:
            try:
                replies = self._pool.call(pack_all(commands), len(commands), deadline)
            except OutcomeUnknown as error:
                raise PublishTimeout(
                    f"Redis at {self._address.shown} took {len(messages)} message(s) and then {error}; it is not known"
                    " whether they arrived"
                ) from None
            raise_errors(replies)
            if isinstance(replies[-1], list):  # what the transaction's commands answered
                raise_errors(replies[-1])
        if not self._known_queues.issuperset(message.queue for message in messages):
            self._known_queues |= {message.queue for message in messages}

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._pool.close()
