"""The sending side of Redis."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from celeriac.brokers.declaring import unroutable
from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.outgoing import once_words, publish_commands
from celeriac.brokers.redis.routing import Routed, lookups, route
from celeriac.core.boards import Move
from celeriac.core.message import Message
from celeriac.core.queues import QueueTable
from celeriac.exceptions import PublishTimeout
from celeriac.transports.redis.address import Address
from celeriac.transports.redis.blocking import Pool
from celeriac.transports.redis.durability import Durability
from celeriac.transports.redis.errors import OutcomeUnknown, broker_errors
from celeriac.transports.redis.protocol import pack_all, raise_errors


class RedisProducer:
    """Sends messages: a batch is one round trip, and arrives whole or not at all.

    Thread-safe, fork-safe, blocking; never longer than the deadline of each call.
    """

    def __init__(
        self,
        address: Address,
        keys: Keys,
        connect_timeout_s: float,
        queues: QueueTable,
        durability: Durability | None = None,
    ) -> None:
        """`durability`: how secure messages must be before `publish` returns; None: in the server's memory."""
        self._address = address
        self._queues = queues
        self._keys = keys
        self._pool = Pool(address, connect_timeout_s, durability)
        self._errors = broker_errors(address)
        self._known_queues: frozenset[str] = frozenset()

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Send all messages within `timeout_s` seconds; see `Producer.publish`.

        Raises `BrokerUnavailable` when nothing was sent for certain, `PublishTimeout` when that is not known or when they were not
        as secure in time as was wanted, `OperationalError` when Redis refuses us, `EncodeError` for a message that cannot be written, `Unroutable` for messages
        to an exchange that has no queue for them, when all others have been sent.
        """
        if not messages:
            return
        deadline = time.monotonic() + timeout_s
        routed: Routed | None = None
        if not all(message.queue for message in messages):
            routed = self._route(messages, deadline)
            messages = routed.messages
        self._send(messages, deadline, routed.announced if routed is not None else ())
        if routed is not None and routed.unroutable:
            raise unroutable(routed.unroutable)

    def publish_once(self, board: str, move: Move, messages: Sequence[Message], timeout_s: float) -> bool:
        """Make a move on a board and send the messages, in one script; see `OnceProducer.publish_once`."""
        deadline = time.monotonic() + timeout_s
        has_queues = all(message.queue for message in messages)
        routed = Routed(messages=list(messages)) if has_queues else self._route(messages, deadline)
        keys = [self._keys.board(board), self._keys.queues, self._keys.workers]
        words = once_words(self._keys, move, routed.messages, time.time(), routed.announced)
        with self._errors:
            try:
                done = self._pool.run("publish_once", keys, *words, deadline=deadline, durably=True)
            except OutcomeUnknown as error:
                raise PublishTimeout(
                    f"Redis at {self._address.shown} took {len(messages)} message(s) and then {error}; it is not known"
                    " whether they arrived"
                ) from None
        if done and routed.unroutable:
            raise unroutable(routed.unroutable)
        return bool(done)

    def _route(self, messages: Sequence[Message], deadline: float) -> Routed:
        exchanges, commands = lookups(self._keys, messages)
        with self._errors:
            replies = self._pool.ask(*commands, deadline=deadline)
        return route(self._keys, self._address.db, self._queues, messages, exchanges, replies)

    def _send(
        self, messages: Sequence[Message], deadline: float, announced: Iterable[tuple[str, Message]] = ()
    ) -> None:
        commands = publish_commands(self._keys, messages, time.time(), self._known_queues, announced)
        if not commands:
            return
        with self._errors:
            try:
                replies, shortfall = self._pool.call_durably(pack_all(commands), len(commands), deadline)
            except OutcomeUnknown as error:
                raise PublishTimeout(
                    f"Redis at {self._address.shown} took {len(messages)} message(s) and then {error}; it is not known"
                    " whether they arrived"
                ) from None
            raise_errors(replies)
            if isinstance(replies[-1], list):  # what the transaction's commands answered
                raise_errors(replies[-1])
        if shortfall is not None:
            raise PublishTimeout(
                f"Redis at {self._address.shown} took {len(messages)} message(s), but {shortfall}; a failover may lose them"
            )
        if not self._known_queues.issuperset(message.queue for message in messages):
            self._known_queues |= {message.queue for message in messages}

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._pool.close()
