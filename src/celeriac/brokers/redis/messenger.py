"""Letters over Redis, in the channels and lists where Celery's processes send and look for theirs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final

from celeriac.brokers.inbox import Inbox, is_for
from celeriac.brokers.redis.doorbell import WATCHDOG_S, Doorbell
from celeriac.brokers.redis.keys import Keys
from celeriac.brokers.redis.outgoing import envelopes
from celeriac.core.mailbox import Address as PostalAddress
from celeriac.core.mailbox import Mailbox
from celeriac.core.message import Message
from celeriac.core.settings import Settings
from celeriac.exceptions import BadMessage, BrokerUnavailable
from celeriac.transports.redis.address import Address
from celeriac.transports.redis.connection import Connection
from celeriac.transports.redis.errors import ConnectionLost, ReplyError, broker_errors
from celeriac.transports.redis.protocol import Word, raise_errors
from celeriac.wire import redis_envelope

logger = logging.getLogger(__name__)

_SIGN_OF_LIFE_EVERY_S: Final = 10.0
_MAILBOX_KEPT_S: Final = 60.0
"""So long after its process was last heard of a direct mailbox is kept at least; well above `_SIGN_OF_LIFE_EVERY_S`."""
_TABLE_KEPT_S: Final = 3600.0
"""So long Celery's processes keep an exchange's table at least that nobody has kept anew, as they agree among each other."""
_READ_AT_ONCE: Final = 100


class RedisMessenger:
    """One process's letters, over a connection of their own.

    1. Hears fanouts and topics by subscription; what nobody hears is gone.
    2. Empties the lists of direct mailboxes, woken by the doorbell.
    3. Tells every now and then that it is there, for Redis to tell whether the connection is, and keeps its mailboxes by that;
       those that a killed process has left are ended by the others.
    """

    def __init__(self, address: Address, keys: Keys, settings: Settings) -> None:
        self._address = address
        self._keys = keys
        self._connect_timeout_s = settings.broker_connection_timeout
        self._letter_ttl_ms = round(1000 * (settings.control_queue_ttl or settings.control_queue_expires))
        # In base64, within an envelope.
        self._max_bytes = 2 * max(settings.control_max_bytes, settings.event_max_bytes)
        self._errors = broker_errors(address)
        self._inbox = Inbox(settings.event_buffer_max)
        self._doorbell = Doorbell()
        self._connection: Connection | None = None
        self._mailboxes: list[Mailbox] = []
        self._background: list[asyncio.Task[None]] = []

    # -- life ----------------------------------------------------------------------------------------------------------

    async def open(self, mailboxes: Collection[Mailbox]) -> None:
        """Connect and listen; see `Messenger.open`."""
        await self.close()
        self._mailboxes = list(mailboxes)
        self._inbox.reset()
        try:
            with self._errors:
                await self._listen()
        except BaseException:
            self._drop()
            raise

    async def _listen(self) -> None:
        connection = await Connection.connect(self._address, self._connect_timeout_s, self._on_push)
        self._connection = connection
        await self._subscribe(connection)
        await self._keep_mailboxes(connection)
        work = [self._stay_alive]
        if self._direct():
            await self._doorbell.install(connection, frozenset())
            work.append(self._empty_lists)
        self._background = [asyncio.create_task(self._inbox.watch(partial(one, connection))) for one in work]

    async def close(self) -> None:
        """Take the mailboxes away and close the connection; idempotent."""
        connection = self._connection
        if connection is not None and connection.is_open:
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    for mailbox in self._direct():
                        await self._keep(connection, mailbox, 0)
            except (ConnectionLost, ReplyError, TimeoutError):
                pass  # whoever else is there ends them soon
        self._drop()

    def _drop(self) -> None:
        background, self._background = self._background, []
        for task in background:
            task.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _opened(self) -> Connection:
        if self._connection is None or not self._connection.is_open:
            raise BrokerUnavailable(f"Redis at {self._address.shown} is not connected: open the messenger again")
        return self._connection

    # -- letters -------------------------------------------------------------------------------------------------------

    async def send(self, address: PostalAddress, letters: Sequence[Message]) -> None:
        """Send letters in one round trip; see `Messenger.send`."""
        connection = self._opened()
        with self._errors:
            if address.kind == "direct":
                await asyncio.gather(
                    *(
                        self._post(connection, address.exchange, letter.routing_key or "", envelope)
                        for letter, envelope in envelopes(letters, time.time())
                    )
                )
                return
            commands: list[Sequence[Word]] = [
                ["PUBLISH", self._channel(address.exchange, letter.routing_key or ""), envelope]
                for letter, envelope in envelopes(letters, time.time())
            ]
            raise_errors(await connection.call_many(commands))

    async def receive(self) -> list[Message]:
        """Wait for the next letters; see `Messenger.receive`."""
        return await self._inbox.get()

    async def _post(self, connection: Connection, exchange: str, routing_key: str, envelope: bytes) -> None:
        queue = direct_queue(exchange, routing_key)
        keys = [self._keys.binding_table(exchange), self._keys.list_for(queue, 0)]
        member = self._keys.binding_member(routing_key, queue)
        await connection.run_surely(connection.scripts.post, keys, member, self._letter_ttl_ms, envelope)

    # -- listening -----------------------------------------------------------------------------------------------------

    async def _subscribe(self, connection: Connection) -> None:
        channels = {
            self._channel(mailbox.address.exchange, mailbox.routing_key.replace("#", "*"))
            for mailbox in self._mailboxes
            if mailbox.address.kind != "direct"
        }
        # A pattern needs a right of its own, so a channel is not asked for as one.
        patterns = {channel for channel in channels if "*" in channel}
        answers = [
            connection.change_channels(command, sorted(names))
            for command, names in (("SUBSCRIBE", channels - patterns), ("PSUBSCRIBE", patterns))
            if names
        ]
        await asyncio.gather(*answers)

    def _channel(self, exchange: str, routing_key: str) -> str:
        return self._keys.channel(self._address.db, exchange, routing_key)

    def _on_push(self, push: list[Any]) -> None:
        if push[0] in (b"message", b"pmessage"):
            self._take_in(push[-1])
        else:
            self._doorbell.on_push(push)

    def _take_in(self, raw: bytes) -> None:
        if len(raw) > self._max_bytes:
            logger.warning(
                "a letter of %d bytes is not read: more than twice event_max_bytes and control_max_bytes", len(raw)
            )
            return
        try:
            letter = redis_envelope.decode(raw, "")
        except BadMessage as error:
            logger.warning("a letter is not read: %s", error)
            return
        # Redis' patterns are coarser than a topic's, and may be switched off (`fanout_patterns`).
        if any(is_for(mailbox, letter) for mailbox in self._mailboxes):
            self._inbox.put(letter)

    async def _empty_lists(self, connection: Connection) -> None:
        lists = [self._keys.list_for(mailbox.queue, 0) for mailbox in self._direct()]
        while True:
            self._doorbell.arm()
            commands: list[Sequence[Word]] = []
            for key in lists:
                # Redis tells of the next change to what was read: LLEN reads, RPOP does not count as reading.
                caching = [["CLIENT", "CACHING", "YES"]] if self._doorbell.is_told else []
                commands += [*caching, ["LLEN", key], ["RPOP", key, _READ_AT_ONCE]]
            with self._errors:
                replies = await connection.call_many(commands)
                raise_errors(replies)
            found = [raw for reply in replies if isinstance(reply, list) for raw in reply]
            for raw in found:
                self._take_in(raw)
            if found:
                self._doorbell.served()
            else:
                await self._doorbell.wait(WATCHDOG_S)

    # -- staying alive -------------------------------------------------------------------------------------------------

    async def _stay_alive(self, connection: Connection) -> None:
        while not connection.closed.done():
            await asyncio.wait([connection.closed], timeout=_SIGN_OF_LIFE_EVERY_S)
            if not connection.closed.done():
                with self._errors:
                    await connection.confirm(self._address)
                    await self._keep_mailboxes(connection)
        raise BrokerUnavailable(f"Redis at {self._address.shown} was lost: {connection.closed.result()}")

    def _direct(self) -> list[Mailbox]:
        return [mailbox for mailbox in self._mailboxes if mailbox.address.kind == "direct"]

    async def _keep_mailboxes(self, connection: Connection) -> None:
        direct = self._direct()
        for mailbox in direct:
            await self._keep(connection, mailbox, max(mailbox.expires_s or 0.0, _MAILBOX_KEPT_S))
        if not direct:
            keys = [self._keys.mailboxes, self._keys.binding_deadlines]
            await connection.run_surely(connection.scripts.mailbox, keys)

    async def _keep(self, connection: Connection, mailbox: Mailbox, kept_s: float) -> None:
        exchange = mailbox.address.exchange
        keys = [
            self._keys.mailboxes,
            self._keys.binding_deadlines,
            self._keys.binding_table(exchange),
            self._keys.list_for(mailbox.queue, 0),
        ]
        member = self._keys.binding_member(mailbox.routing_key, mailbox.queue)
        table_kept_s = max(2 * (mailbox.expires_s or 0.0), _TABLE_KEPT_S)
        await connection.run_surely(connection.scripts.mailbox, keys, kept_s, member, exchange, table_kept_s)


def direct_queue(exchange: str, routing_key: str) -> str:
    """Return the queue of a direct mailbox, which Celery's processes name so as well."""
    return f"{routing_key}.{exchange}"
