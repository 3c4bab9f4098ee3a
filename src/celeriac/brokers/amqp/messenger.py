"""Letters over RabbitMQ, through the exchanges and queues that Celery's processes use for theirs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from typing import Final

from celeriac.brokers.amqp.incoming import to_message
from celeriac.brokers.amqp.outgoing import to_publish
from celeriac.brokers.inbox import Inbox
from celeriac.core.mailbox import Address, Mailbox
from celeriac.core.message import Message
from celeriac.core.settings import Settings
from celeriac.exceptions import BrokerUnavailable, EncodeError, OperationalError
from celeriac.transports.amqp.aio import CONSUME_CHANNEL, FIRST_FREE_CHANNEL, AsyncConnection
from celeriac.transports.amqp.blocking import connection_name
from celeriac.transports.amqp.errors import ACCESS_REFUSED, PRECONDITION_FAILED, ChannelError
from celeriac.transports.amqp.nodes import Nodes
from celeriac.transports.amqp.protocol import methods
from celeriac.transports.amqp.protocol.errors import CodecError
from celeriac.transports.amqp.protocol.events import Cancelled, ChannelClosed, Delivered
from celeriac.transports.amqp.protocol.methods import Call

logger = logging.getLogger(__name__)

_SEND_CHANNEL: Final = FIRST_FREE_CHANNEL


class AmqpMessenger:
    """One process's letters, over a connection of their own.

    1. Owns the connection, and with it the mailboxes, which RabbitMQ takes away when it is gone.
    2. Sends without being confirmed; where RabbitMQ takes nothing at present, it says so at once.
    """

    def __init__(self, nodes: Nodes, settings: Settings) -> None:
        self._nodes = nodes
        self._settings = settings
        self._inbox = Inbox(settings.event_buffer_max)
        self._connection: AsyncConnection | None = None
        self._declared: set[Address] = set()

    async def open(self, mailboxes: Collection[Mailbox]) -> None:
        """Connect and listen; see `Messenger.open`. Raises `OperationalError` where RabbitMQ refuses a mailbox.

        That passes by itself when a mailbox of the same name, of a connection that is just ending, stands in the way.
        """
        await self.close()
        self._inbox.reset()
        self._connection = await AsyncConnection.open(
            self._nodes,
            self,
            heartbeat_s=self._settings.broker_heartbeat,
            timeout_s=self._settings.broker_connection_timeout,
            name=connection_name("events and control"),
        )
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                for number, mailbox in enumerate(mailboxes):
                    await self._listen(self._connection, mailbox, f"letters-{number}")
        except TimeoutError:
            await self.close()
            raise BrokerUnavailable(f"RabbitMQ at {self._nodes.shown} did not make the mailboxes in time") from None
        except BaseException:
            await self.close()
            raise

    async def _listen(self, connection: AsyncConnection, mailbox: Mailbox, tag: str) -> None:
        arguments = {
            name: round(seconds * 1000)
            for name, seconds in (("x-expires", mailbox.expires_s), ("x-message-ttl", mailbox.ttl_s))
            if seconds is not None
        }
        await self._declare(connection, mailbox.address)
        async with connection.lock(CONSUME_CHANNEL):
            await connection.call(
                CONSUME_CHANNEL,
                [
                    methods.queue_declare(
                        mailbox.queue,
                        durable=mailbox.durable,
                        exclusive=mailbox.exclusive,
                        auto_delete=not mailbox.durable,
                        arguments=arguments,
                    ),
                    methods.queue_bind(mailbox.queue, mailbox.address.exchange, mailbox.routing_key),
                    methods.basic_consume(mailbox.queue, tag, no_ack=True),
                ],
            )

    async def _declare(self, connection: AsyncConnection, address: Address) -> None:
        """Create an exchange, on the channel to send on; one that exists is used as it is."""
        if address in self._declared:
            return
        call: Call = methods.exchange_declare(address.exchange, address.kind, durable=address.durable)
        async with connection.lock(_SEND_CHANNEL):
            try:
                await connection.call(_SEND_CHANNEL, [call])
            except ChannelError as error:
                if error.code not in (ACCESS_REFUSED, PRECONDITION_FAILED):
                    raise
                await connection.call(_SEND_CHANNEL, [methods.channel_open()])
        self._declared.add(address)

    async def send(self, address: Address, letters: Sequence[Message]) -> None:
        """Send letters; see `Messenger.send`.

        Raises `BrokerUnavailable`, also while RabbitMQ takes no messages, and `EncodeError` for what AMQP can't carry.
        """
        connection = self._connection
        if connection is None:
            raise BrokerUnavailable(f"RabbitMQ at {self._nodes.shown} is not connected: open the messenger again")
        await self._declare(connection, address)
        try:
            connection.post_messages(_SEND_CHANNEL, [to_publish(letter, time.time()) for letter in letters])
        except CodecError as error:
            raise EncodeError(f"a letter cannot be sent: {error}") from None

    async def receive(self) -> list[Message]:
        """Wait for the next letters; see `Messenger.receive`."""
        return await self._inbox.get()

    async def close(self) -> None:
        """Close the connection, which ends the mailboxes; idempotent."""
        connection, self._connection = self._connection, None
        self._declared.clear()
        if connection is not None:
            await connection.close()

    # -- what the connection tells ------------------------------------------------------------------------------------

    def on_delivered(self, event: Delivered) -> None:
        """A letter arrived."""
        try:
            letter, _count, _kept = to_message(event, "")
        except CodecError as error:
            logger.warning("a letter is not read: its AMQP properties cannot be read: %s", error)
            return
        self._inbox.put(letter)

    def on_cancelled(self, event: Cancelled) -> None:
        """A mailbox was deleted."""
        self._inbox.fail(BrokerUnavailable(f"RabbitMQ at {self._nodes.shown} deleted a mailbox"))

    def on_channel_closed(self, event: ChannelClosed) -> None:
        """A channel was closed: an exchange is gone, or a mailbox was refused."""
        if event.channel == _SEND_CHANNEL:
            self._declared.clear()  # the next letter makes it anew
        else:
            self._inbox.fail(BrokerUnavailable(f"RabbitMQ at {self._nodes.shown}: {event.code} {event.text}"))

    def on_lost(self, error: OperationalError) -> None:
        """The connection is gone."""
        self._inbox.fail(error)
