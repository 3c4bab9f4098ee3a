"""The client's side: messages out, each confirmed by RabbitMQ before `publish` returns."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Final

from celeriac.brokers.amqp.outgoing import to_publish
from celeriac.brokers.declaring import unroutable
from celeriac.core.message import Message
from celeriac.core.queues import QueueTable
from celeriac.core.settings import Settings
from celeriac.exceptions import BrokerUnavailable, PublishTimeout
from celeriac.transports.amqp.blocking import BlockingConnection, DeadlinePassed, connection_name
from celeriac.transports.amqp.errors import ChannelError, ConnectionLost
from celeriac.transports.amqp.nodes import Nodes
from celeriac.transports.amqp.outbox import Publish
from celeriac.transports.amqp.topology import NoRoute, PartlyRefused, Refused, Topology

IDLE_CHECK_S: Final = 5.0
"""A connection that was idle for longer is asked for a sign of life before it is trusted with messages."""
_CHECK_WAIT_S: Final = 1.0
_REFUSED_WAIT_S: Final = 1.0
"""So long what was refused is sent again; others that publish wait meanwhile."""
_REFUSED_PAUSE_S: Final = 0.05


class AmqpProducer:
    """Publishes batches over one connection.

    1. Owns the connection: opened by the first publish, opened anew after any failure, left alone after a fork.
    2. Knows before it writes whether the connection is still good, so that little is ever in doubt.
    3. Keeps certain failure (`BrokerUnavailable`) and unknown outcome (`PublishTimeout`) apart.

    Thread-safe: one thread publishes at a time, the others wait within their own deadlines.
    """

    def __init__(self, nodes: Nodes, settings: Settings, queues: QueueTable) -> None:
        self._nodes = nodes
        self._queues = queues
        self._settings = settings
        self._start_fresh()

    def _start_fresh(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._connection: BlockingConnection | None = None
        self._topology = Topology(self._settings, self._queues)

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Send all messages and return when RabbitMQ has confirmed every one of them.

        timeout_s: seconds for everything: connecting, making queues, sending, confirming.
        Raises `EncodeError` before anything is sent, `BrokerUnavailable` when nothing was sent for certain, `PublishTimeout`
        when the outcome is not known, `OperationalError` for a login that RabbitMQ refuses, `Unroutable` for messages to an
        exchange that has no queue for them, when all others have been sent.
        """
        lost: list[Message] = []
        if not messages:
            return
        deadline = time.monotonic() + timeout_s
        now = time.time()
        publishes = [to_publish(message, now) for message in messages]
        if self._pid != os.getpid():
            self._leave_to_parent()
        if not self._lock.acquire(timeout=max(0.0, timeout_s)):
            raise BrokerUnavailable(
                f"nothing was sent in {timeout_s:g} s: other threads were publishing to {self._nodes.shown}"
            )
        try:
            connection = self._ready_connection(deadline)
            connection.in_doubt = False
            try:
                self._send(connection, publishes, deadline)
            except NoRoute as error:
                lost = [message for message, publish in zip(messages, publishes, strict=True) if error.has(publish)]
            except DeadlinePassed:
                if connection.blocked is None:  # what blocks one node blocks them all
                    self._nodes.passed_over(connection.address)
                raise self._too_late(connection, timeout_s) from None
            except ChannelError as error:
                if not error.queue_is_away:
                    raise
                raise (PublishTimeout if connection.in_doubt else BrokerUnavailable)(str(error)) from None
            except ConnectionLost as error:
                self._nodes.passed_over(connection.address)
                if not connection.in_doubt:
                    raise
                raise PublishTimeout(f"{error}; whether the messages arrived is not known") from None
        except BaseException:
            self._drop()
            raise
        finally:
            self._lock.release()
        if lost:
            raise unroutable(lost)

    def _send(self, connection: BlockingConnection, publishes: Sequence[Publish], deadline: float) -> None:
        """Send; what is refused beside others that are taken once more, as its queue may be only just being made."""
        lost: list[Publish] = []
        until = time.monotonic() + _REFUSED_WAIT_S
        taken = False
        while True:
            try:
                connection.run(self._topology.publish(publishes), deadline)
                break
            except NoRoute as error:
                lost += error.publishes
                break
            except PartlyRefused as error:
                if time.monotonic() >= until:
                    raise
                taken = True
                lost += error.lost
                publishes = error.refused
            except Refused as error:
                if not taken:
                    raise
                if time.monotonic() >= until:
                    raise PublishTimeout(str(error)) from None  # not "nothing was sent": others were taken
            connection.in_doubt = True
            time.sleep(_REFUSED_PAUSE_S)
        if lost:
            raise NoRoute(lost)

    def _ready_connection(self, deadline: float) -> BlockingConnection:
        connection = self._connection
        if connection is not None and self._is_good(connection, deadline):
            return connection
        self._drop()
        self._topology = Topology(self._settings, self._queues)
        self._connection = BlockingConnection.open(
            self._nodes, deadline, self._settings.broker_connection_timeout, name=connection_name("producer")
        )
        return self._connection

    def _is_good(self, connection: BlockingConnection, deadline: float) -> bool:
        try:
            connection.take_news()
        except ConnectionLost:
            return False
        now = time.monotonic()
        if now - connection.last_used > IDLE_CHECK_S:
            return connection.check_alive(now + min(_CHECK_WAIT_S, (deadline - now) / 3))
        return connection.usable

    def _too_late(self, connection: BlockingConnection, timeout_s: float) -> BrokerUnavailable:
        shown = connection.address.shown
        reason = f" (RabbitMQ takes no messages: {connection.blocked})" if connection.blocked is not None else ""
        if connection.in_doubt:
            return PublishTimeout(
                f"{shown} did not confirm within {timeout_s:g} s{reason}; whether the messages arrived is not known"
            )
        return BrokerUnavailable(f"nothing could be sent to {shown} within {timeout_s:g} s{reason}")

    def _leave_to_parent(self) -> None:
        # The socket and the lock are the parent's: neither is touched beyond closing our copy of the file descriptor.
        inherited = self._connection
        self._start_fresh()
        if inherited is not None:
            inherited.abandon()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None

    def close(self) -> None:
        """Close the connection; idempotent."""
        if self._pid != os.getpid():
            self._leave_to_parent()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
