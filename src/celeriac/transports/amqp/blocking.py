"""The blocking driver: one AMQP connection for clients and the command line, every wait with a deadline."""

from __future__ import annotations

import os
import select
import socket
import ssl
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, TypeVar

from celeriac.exceptions import BrokerUnavailable, OperationalError
from celeriac.transports.amqp.address import Address
from celeriac.transports.amqp.errors import (
    ACCESS_REFUSED,
    NOT_ALLOWED,
    ChannelError,
    ConnectionLost,
    connection_closed,
    login_refused,
    unreachable,
    vhost_refused,
)
from celeriac.transports.amqp.nodes import Nodes
from celeriac.transports.amqp.outbox import Batch, Outbox, Publish
from celeriac.transports.amqp.protocol import methods
from celeriac.transports.amqp.protocol.connection import Connection, State
from celeriac.transports.amqp.protocol.errors import ProtocolError
from celeriac.transports.amqp.protocol.events import (
    Answer,
    ChannelClosed,
    Confirmed,
    ConnectionClosed,
    Delivered,
    Event,
    Returned,
)
from celeriac.transports.amqp.topology import Calls, Reply, Script
from celeriac.transports.resolving import connect

T = TypeVar("T")

PUBLISH_CHANNEL: Final = 1
TOPOLOGY_CHANNEL: Final = 2
READ_BYTES: Final = 256 * 1024
_CLOSE_WAIT_S: Final = 0.5


class DeadlinePassed(Exception):
    """The deadline of a wait passed."""


def set_socket_options(sock: socket.socket) -> None:
    """Send at once, and let the system find out about a peer that is gone."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def handshake_error(address: Address, closed: ConnectionClosed) -> OperationalError:
    """Say why RabbitMQ did not let us in."""
    if closed.code == ACCESS_REFUSED:
        return login_refused(address.shown, address.user)
    if closed.code == NOT_ALLOWED:
        return vhost_refused(address.shown, address.vhost, address.user, closed.text)
    return connection_closed(address.shown, closed.code, closed.text)


class BlockingConnection:
    """One connection to RabbitMQ, without a thread of its own.

    1. Owns the socket; connects, logs in, and closes.
    2. Runs scripts: writes what they ask for and waits for the answers, reading all the while (RabbitMQ must never wait for us).
    3. Keeps the publishing channel's outbox, and reopens a channel that RabbitMQ closed.

    Asks for no heartbeats: nobody would send them while the program is busy elsewhere.  `check_alive` takes their place.
    Not thread-safe.  Deadlines are moments of `time.monotonic()`; `DeadlinePassed` leaves the connection in doubt: close it.
    """

    def __init__(self, address: Address, deadline: float, *, name: str) -> None:
        self._address = address
        self._protocol = Connection(
            user=address.user, password=address.password, vhost=address.vhost, heartbeat_s=0, name=name
        )
        self._outbox: Outbox | None = None
        self._unsent = memoryview(b"")
        self._read_to_write = False  # TLS may have to read before it can write
        self._expected: dict[int, deque[Answer | Delivered]] = {}
        self._channel_errors: dict[int, ChannelClosed] = {}
        self._delivered: deque[Delivered] = deque()
        self.address = address
        self.in_doubt = False
        """Messages were written out, and it is not known yet what became of all of them."""
        self.last_used = time.monotonic()
        self._socket = self._connect(deadline)
        try:
            self._handshake(deadline)
        except BaseException:
            self._socket.close()
            raise

    @classmethod
    def open(cls, nodes: Nodes, deadline: float, attempt_s: float, *, name: str) -> BlockingConnection:
        """Connect to one of the nodes and log in, within `attempt_s` seconds for each that is tried.

        Raises `BrokerUnavailable`, and `OperationalError` when RabbitMQ refuses the login.
        """
        return nodes.connect(lambda address, until: cls(address, until, name=name), deadline, attempt_s)

    # -- opening and closing ------------------------------------------------------------------------------------------

    def _connect(self, deadline: float) -> socket.socket:
        address = self._address
        context = address.ssl_context()
        sock: socket.socket | None = None
        try:
            sock = connect(address.host, address.port, deadline)
            set_socket_options(sock)
            if context is not None:
                sock.settimeout(_left(deadline))
                sock = context.wrap_socket(sock, server_hostname=address.tls_name)
            sock.setblocking(False)
            return sock
        except (OSError, DeadlinePassed) as error:  # ssl.SSLError is an OSError
            if sock is not None:
                sock.close()
            raise unreachable(address.shown, error) from None

    def _handshake(self, deadline: float) -> None:
        try:
            while self._protocol.state is State.HANDSHAKE:
                self._pump(deadline)
        except DeadlinePassed:
            raise BrokerUnavailable(
                f"RabbitMQ at {self._address.shown} accepts connections but does not answer"
            ) from None

    def close(self) -> None:
        """Say goodbye if that is quickly done, and close the socket. Idempotent."""
        deadline = time.monotonic() + _CLOSE_WAIT_S
        try:
            self._protocol.close()
            while self._protocol.state is State.CLOSING:
                self._pump(deadline)
        except (OperationalError, DeadlinePassed):
            pass  # it is closed anyway
        self.abandon()

    def abandon(self) -> None:
        """Close the socket without a word: for a connection in doubt, and for one inherited by a fork."""
        self._protocol.state = State.CLOSED
        self._socket.close()

    @property
    def usable(self) -> bool:
        """Whether nothing is known against it."""
        return self._protocol.state is State.OPEN

    @property
    def blocked(self) -> str | None:
        """Why RabbitMQ takes no messages at present."""
        return self._protocol.blocked

    # -- running scripts ----------------------------------------------------------------------------------------------

    def run(self, script: Script[T], deadline: float) -> T:
        """Do what the script asks for and return what it returns.

        Raises `DeadlinePassed`, `ConnectionLost`, and what the script raises.
        """
        reply: Reply | None = None
        error: OperationalError | None = None
        while True:
            try:
                step = script.throw(error) if error is not None else script.send(reply)
            except StopIteration as stop:
                self.last_used = time.monotonic()
                value: T = stop.value
                return value
            reply = error = None
            try:
                if isinstance(step, Calls):
                    reply = self.call(TOPOLOGY_CHANNEL, step.calls, deadline)
                else:
                    reply = self._send(step.publishes, deadline)
            except ChannelError as refused:
                error = refused

    def call(self, channel: int, calls: Sequence[methods.Call], deadline: float) -> list[Answer | Delivered]:
        """Write all requests in one go and return their answers; opens the channel if need be.

        Raises `ChannelError` when RabbitMQ refuses one of them: those after it have not been done.
        """
        if channel not in self._protocol.channels and calls[0].answers[0] != methods.CHANNEL_OPEN_OK:
            self.call(channel, [methods.channel_open()], deadline)
        answers = self._expected[channel] = deque()
        self._channel_errors.pop(channel, None)
        for call in calls:
            self._protocol.send_call(channel, call)
        while len(answers) < len(calls):
            self._pump(deadline)
            if (closed := self._channel_errors.pop(channel, None)) is not None:
                raise ChannelError(closed.code, closed.text, calls[min(len(answers), len(calls) - 1)].about)
        return list(answers)

    def settle(self, frames: Sequence[bytes], deadline: float) -> None:
        """Write acks and nacks out. RabbitMQ does not answer them; a channel closed properly after them proves they came."""
        for frame in frames:
            self._protocol.send_frame(frame)
        while self._protocol.has_outgoing or self._unsent:
            self._pump(deadline, wait_to_read=False)

    def _send(self, publishes: Sequence[Publish], deadline: float) -> Batch:
        if self._outbox is None or PUBLISH_CHANNEL not in self._protocol.channels:
            self.call(PUBLISH_CHANNEL, [methods.channel_open(), methods.confirm_select()], deadline)
            self._outbox = Outbox(self._protocol, PUBLISH_CHANNEL)
        while self._protocol.blocked is not None:
            self._pump(deadline)
        batch = self._outbox.send(publishes)
        self.in_doubt = True
        while not batch.done:
            self._pump(deadline)
        if batch.failure is not None:
            raise batch.failure
        return batch

    def check_alive(self, deadline: float) -> bool:
        """Ask RabbitMQ for a sign of life; False when none comes by the deadline, or the connection is closed."""
        try:
            self.call(TOPOLOGY_CHANNEL, [methods.basic_qos(0)], deadline)
        except (OperationalError, DeadlinePassed):
            return False
        return True

    def take_news(self) -> None:
        """Read what has come in, without waiting. Raises `ConnectionLost` when the connection is closed."""
        try:
            while True:
                self._pump(0)
        except DeadlinePassed:
            pass  # nothing more is there

    # -- bytes --------------------------------------------------------------------------------------------------------

    def _pump(self, deadline: float, *, wait_to_read: bool = True) -> None:
        """Write and read what is possible; wait until the deadline when neither is."""
        if not self._unsent and self._protocol.has_outgoing:
            self._unsent = memoryview(self._protocol.take_outgoing())
        try:
            if self._unsent:
                self._write()
                if not self._unsent and not wait_to_read:
                    return
            data = self._read()
        except OSError as error:
            raise self._lost(str(error)) from None
        if data is None:
            self._wait(deadline)
        elif not data:
            raise self._lost("closed by the other side")
        else:
            self._take(data)

    def _write(self) -> None:
        self._read_to_write = False
        try:
            sent = self._socket.send(self._unsent[:READ_BYTES])
        except ssl.SSLWantReadError:
            self._read_to_write = True
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass  # its buffer is full: `_wait` waits for room
        else:
            self._unsent = self._unsent[sent:]

    def _read(self) -> bytes | None:
        try:
            return self._socket.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def _wait(self, deadline: float) -> None:
        poll = select.poll()
        writing = bool(self._unsent or self._protocol.has_outgoing) and not self._read_to_write
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if writing else 0))
        if not poll.poll(_left(deadline) * 1000):
            raise DeadlinePassed

    def _take(self, data: bytes) -> None:
        try:
            events = self._protocol.receive(data)
        except ProtocolError as error:
            raise self._lost(str(error)) from None
        for event in events:
            self._on_event(event)

    def _on_event(self, event: Event) -> None:
        match event:
            case Confirmed() if self._outbox is not None:
                self._outbox.on_confirmed(event)
            case Returned() if self._outbox is not None:
                self._outbox.on_returned(event)
            case Answer() | Delivered():
                self._expected.setdefault(event.channel, deque()).append(event)
            case ChannelClosed():
                self._channel_errors[event.channel] = event
                if event.channel == PUBLISH_CHANNEL and self._outbox is not None:
                    self._outbox.fail(ChannelError(event.code, event.text, "take a message"))
                    self._outbox = None
            case ConnectionClosed() if event.code:
                handshaking = not self._protocol.channels and self._outbox is None
                if handshaking:
                    raise handshake_error(self._address, event)
                raise connection_closed(self._address.shown, event.code, event.text)
            case _:
                pass  # Opened, Blocked, Unblocked: the protocol's state tells

    def _lost(self, why: str) -> ConnectionLost:
        self._protocol.state = State.CLOSED
        return ConnectionLost(f"lost the connection to RabbitMQ at {self._address.shown}: {why}")


def connection_name(role: str) -> str:
    """Name a connection for RabbitMQ's own listings."""
    return f"celeriac {role} {socket.gethostname()}:{os.getpid()}"


def _left(deadline: float) -> float:
    """Return the seconds until the deadline; raises `DeadlinePassed` when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlinePassed
    return left
