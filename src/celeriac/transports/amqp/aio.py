"""The asynchronous driver: one AMQP connection in an event loop, for workers and for those who wait for results."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeVar

from celeriac.exceptions import BrokerUnavailable, OperationalError, PublishTimeout
from celeriac.transports.amqp.address import Address
from celeriac.transports.amqp.blocking import handshake_error, set_socket_options
from celeriac.transports.amqp.errors import ChannelError, ConnectionLost, connection_closed, unreachable
from celeriac.transports.amqp.nodes import Nodes
from celeriac.transports.amqp.outbox import Batch, Outbox, Publish
from celeriac.transports.amqp.protocol import methods
from celeriac.transports.amqp.protocol.connection import Connection, State
from celeriac.transports.amqp.protocol.errors import ProtocolError
from celeriac.transports.amqp.protocol.events import (
    Answer,
    Cancelled,
    ChannelClosed,
    Confirmed,
    ConnectionClosed,
    Delivered,
    Event,
    Opened,
    Returned,
    Unblocked,
)
from celeriac.transports.amqp.protocol.liveness import Liveness
from celeriac.transports.amqp.topology import Calls, Reply, Script

T = TypeVar("T")

PUBLISH_CHANNEL: Final = 1
TOPOLOGY_CHANNEL: Final = 2
CONSUME_CHANNEL: Final = 3
REVOKED_CHANNEL: Final = 4
FIRST_FREE_CHANNEL: Final = 5
"""This one and those above it are for whoever uses the connection."""
_CLOSE_WAIT_S: Final = 0.5
_UNSENT_MAX_BYTES: Final = 8 * 1024 * 1024


class Sink(Protocol):
    """Whom a connection tells what comes in by itself; called in the event loop, must not raise."""

    def on_delivered(self, event: Delivered) -> None:
        """A message for a consumer."""

    def on_cancelled(self, event: Cancelled) -> None:
        """RabbitMQ ended a consumer."""

    def on_channel_closed(self, event: ChannelClosed) -> None:
        """RabbitMQ closed a channel: its delivery tags are void."""

    def on_lost(self, error: OperationalError) -> None:
        """The connection is gone."""


class _Pending:
    """Requests on their way: what they are about, and the answers so far."""

    __slots__ = ("answers", "calls", "future")

    def __init__(self, calls: Sequence[methods.Call]) -> None:
        self.calls = calls
        self.answers: list[Answer | Delivered] = []
        self.future: asyncio.Future[list[Answer | Delivered]] = asyncio.get_running_loop().create_future()

    def take(self, answer: Answer | Delivered) -> bool:
        self.answers.append(answer)
        if len(self.answers) < len(self.calls):
            return False
        if not self.future.done():  # its asker may have been cancelled
            self.future.set_result(self.answers)
        return True

    def fail(self, error: OperationalError) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # whoever asked may be gone: then nobody needs to hear of it


class AsyncConnection(asyncio.Protocol):
    """One connection to RabbitMQ in an event loop.

    1. Owns the transport; connects, logs in, and closes.
    2. Sends heartbeats, and gives the connection up when RabbitMQ has been silent for two intervals.
    3. Pairs answers with requests, channel by channel, also when the asker was cancelled meanwhile.
    4. Keeps the publishing channel's outbox.
    5. Tells its sink what comes in by itself.

    To be used in one event loop only.  Many coroutines may use it at once.
    """

    def __init__(self, address: Address, sink: Sink, *, heartbeat_s: float, name: str) -> None:
        self._address = address
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._protocol = Connection(
            user=address.user,
            password=address.password,
            vhost=address.vhost,
            heartbeat_s=max(1, round(heartbeat_s)) if heartbeat_s else 0,
            name=name,
        )
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = asyncio.Event()
        self._unblocked = asyncio.Event()
        self._pending: dict[int, deque[_Pending]] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._outbox: Outbox | None = None
        self._liveness = Liveness(0, self._loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self.address = address
        self.error: OperationalError | None = None
        """Why it is no more."""
        self.server: dict[str, Any] = {}
        """What RabbitMQ has said of itself."""

    @classmethod
    async def open(
        cls, nodes: Nodes, sink: Sink, *, heartbeat_s: float, timeout_s: float, name: str
    ) -> AsyncConnection:
        """Connect to one of the nodes and log in, within `timeout_s` seconds for each that is tried.

        Raises `BrokerUnavailable`, and `OperationalError` when RabbitMQ refuses the login.
        """
        return await nodes.aconnect(
            lambda address: cls._open_one(address, sink, heartbeat_s=heartbeat_s, timeout_s=timeout_s, name=name)
        )

    @classmethod
    async def _open_one(
        cls, address: Address, sink: Sink, *, heartbeat_s: float, timeout_s: float, name: str
    ) -> AsyncConnection:
        connection = cls(address, sink, heartbeat_s=heartbeat_s, name=name)
        try:
            async with asyncio.timeout(timeout_s):
                await connection._loop.create_connection(
                    lambda: connection,
                    address.host,
                    address.port,
                    ssl=address.ssl_context(),
                    server_hostname=address.tls_name if address.tls else None,
                )
                await connection._opened
        except (OSError, TimeoutError) as error:
            connection.abandon()
            raise unreachable(address.shown, error) from None
        except BaseException:
            connection.abandon()
            raise
        return connection

    async def close(self) -> None:
        """Say goodbye if that is quickly done, and close. Idempotent."""
        if self.usable:
            self._protocol.close()
            self.flush()
            try:
                async with asyncio.timeout(_CLOSE_WAIT_S):
                    await self._closed.wait()
            except TimeoutError:
                pass  # it is closed anyway
        self.abandon()

    def abandon(self) -> None:
        """Close without a word. Idempotent."""
        self._lose(ConnectionLost(f"the connection to RabbitMQ at {self._address.shown} was closed here"), tell=False)

    def give_up(self, why: str) -> None:
        """Close without a word, and tell the sink: RabbitMQ is there and yet of no use. Idempotent."""
        self._lose(ConnectionLost(f"gave up the connection to RabbitMQ at {self._address.shown}: {why}"))

    @property
    def usable(self) -> bool:
        """Whether nothing is known against it."""
        return self.error is None and self._protocol.state is State.OPEN

    @property
    def blocked(self) -> str | None:
        """Why RabbitMQ takes no messages at present."""
        return self._protocol.blocked

    @property
    def channel_max(self) -> int:
        """The highest number that a channel may have."""
        return self._protocol.channel_max

    # -- asking -------------------------------------------------------------------------------------------------------

    def lock(self, channel: int) -> asyncio.Lock:
        """Return the lock of a channel: a refused request closes the channel, and must hit nobody else's."""
        return self._locks.setdefault(channel, asyncio.Lock())

    async def call(self, channel: int, calls: Sequence[methods.Call]) -> list[Answer | Delivered]:
        """Write all requests in one go and return their answers; opens the channel if need be. Hold the channel's lock.

        Raises `ChannelError` when RabbitMQ refuses one of them, `ConnectionLost`.
        """
        if channel not in self._protocol.channels and calls[0].answers[0] != methods.CHANNEL_OPEN_OK:
            calls = [methods.channel_open(), *calls]
            return (await self._ask(channel, calls))[1:]
        return await self._ask(channel, calls)

    async def _ask(self, channel: int, calls: Sequence[methods.Call]) -> list[Answer | Delivered]:
        if self.error is not None:
            raise self.error
        pending = _Pending(calls)
        self._pending.setdefault(channel, deque()).append(pending)
        for call in calls:
            self._protocol.send_call(channel, call)
        self.flush()
        return await pending.future

    def post(self, channel: int, calls: Sequence[methods.Call]) -> None:
        """Write requests whose answers nobody waits for; where one is refused, the sink hears of the channel's end."""
        if self.error is not None:
            return
        self._pending.setdefault(channel, deque()).append(_Pending(calls))
        for call in calls:
            self._protocol.send_call(channel, call)
        self.flush()

    async def run(self, script: Script[T]) -> T:
        """Do what the script asks for and return what it returns. Without a deadline of its own: set one around it.

        Raises `ConnectionLost`, and what the script raises.
        """
        reply: Reply | None = None
        error: OperationalError | None = None
        while True:
            try:
                step = script.throw(error) if error is not None else script.send(reply)
            except StopIteration as stop:
                value: T = stop.value
                return value
            reply = error = None
            try:
                if isinstance(step, Calls):
                    async with self.lock(TOPOLOGY_CHANNEL):
                        reply = await self.call(TOPOLOGY_CHANNEL, step.calls)
                else:
                    reply = await self._send(step.publishes)
            except ChannelError as refused:
                error = refused

    async def publish(self, script: Script[None], timeout_s: float) -> None:
        """Run a script that publishes, within `timeout_s` seconds.

        Raises `PublishTimeout` when the outcome is not known, and `BrokerUnavailable`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self.run(script)
        except TimeoutError:
            reason = f" (RabbitMQ takes no messages: {self.blocked})" if self.blocked is not None else ""
            raise PublishTimeout(
                f"{self._address.shown} did not confirm within {timeout_s:g} s{reason}; whether it arrived is not known"
            ) from None

    async def _send(self, publishes: Sequence[Publish]) -> Batch:
        async with self.lock(PUBLISH_CHANNEL):
            if self._outbox is None or PUBLISH_CHANNEL not in self._protocol.channels:
                await self.call(PUBLISH_CHANNEL, [methods.channel_open(), methods.confirm_select()])
                self._outbox = Outbox(self._protocol, PUBLISH_CHANNEL)
            outbox = self._outbox
        while self._protocol.blocked is not None and self.error is None:
            self._unblocked.clear()
            await self._unblocked.wait()
        if self.error is not None:
            raise self.error
        batch = outbox.send(publishes)
        done: asyncio.Future[None] = self._loop.create_future()
        batch.on_done = lambda: None if done.done() else done.set_result(None)
        self.flush()
        if not batch.done:
            await done
        if batch.failure is not None:
            raise batch.failure
        return batch

    def post_messages(self, channel: int, publishes: Sequence[Publish]) -> None:
        """Publish on an open channel that does not confirm, without waiting for anything.

        Raises `BrokerUnavailable` when RabbitMQ is gone, or takes nothing at present.
        """
        if self.error is not None:
            raise self.error
        if channel not in self._protocol.channels:
            raise ConnectionLost(f"RabbitMQ at {self._address.shown} has just closed the channel: try again")
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if self.blocked is not None or waiting > _UNSENT_MAX_BYTES:
            why = f" ({self.blocked})" if self.blocked else ""
            raise BrokerUnavailable(f"RabbitMQ at {self._address.shown} takes no messages at present{why}")
        for publish in publishes:
            where = publish.exchange, publish.routing_key
            self._protocol.publish(channel, *where, publish.properties, publish.body, mandatory=False)
        self.flush()

    def send_frames(self, frames: Sequence[bytes]) -> None:
        """Write acks and nacks."""
        for frame in frames:
            self._protocol.send_frame(frame)
        self.flush()

    def send_soon(self, frame: bytes) -> None:
        """Write a frame with whatever is written next; for use in a sink, after which all is written anyway."""
        self._protocol.send_frame(frame)

    def flush(self) -> None:
        """Hand what is to be sent to the transport."""
        if self._transport is not None and self._protocol.has_outgoing:
            self._transport.write(self._protocol.take_outgoing())
            self._liveness.last_sent = self._loop.time()

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self.error is not None:  # the time to connect was over just before
            transport.abort()
            return
        sock = transport.get_extra_info("socket")
        if sock is not None:
            set_socket_options(sock)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Read what the broker tells."""
        self._liveness.last_received = self._loop.time()
        if self.error is not None:
            return
        try:
            for event in self._protocol.receive(data):
                if type(event) is Delivered and event.consumer:  # the commonest first
                    self._sink.on_delivered(event)
                else:
                    self._on_event(event)
        except ProtocolError as error:
            self._lose(ConnectionLost(f"lost the connection to RabbitMQ at {self._address.shown}: {error}"))
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is closed."""
        why = str(exc) if exc else "closed by the other side"
        self._lose(ConnectionLost(f"lost the connection to RabbitMQ at {self._address.shown}: {why}"))

    # -- events -------------------------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event:
            case Confirmed() if self._outbox is not None:
                self._outbox.on_confirmed(event)
            case Returned() if self._outbox is not None:
                self._outbox.on_returned(event)
            case Answer() | Delivered():
                pending = self._pending.get(event.channel)
                if pending and pending[0].take(event):
                    pending.popleft()
            case Cancelled():
                self._sink.on_cancelled(event)
            case ChannelClosed():
                self._on_channel_closed(event)
            case Opened():
                self.server = event.server
                self._liveness = Liveness(event.heartbeat_s, self._loop.time())
                self._tick()
                if not self._opened.done():
                    self._opened.set_result(None)
            case Unblocked():
                self._unblocked.set()
            case ConnectionClosed():
                self._closed.set()
                if event.code:
                    handshaking = not self._opened.done()
                    self.flush()
                    self._lose(
                        handshake_error(self._address, event)
                        if handshaking
                        else connection_closed(self._address.shown, event.code, event.text)
                    )
            case _:
                pass  # Blocked: the protocol's state tells

    def _on_channel_closed(self, event: ChannelClosed) -> None:
        if event.channel == PUBLISH_CHANNEL and self._outbox is not None:
            self._outbox.fail(ChannelError(event.code, event.text, "take a message"))
            self._outbox = None
        for pending in self._pending.pop(event.channel, ()):
            about = pending.calls[min(len(pending.answers), len(pending.calls) - 1)].about
            pending.fail(ChannelError(event.code, event.text, about))
        self._sink.on_channel_closed(event)

    def _tick(self) -> None:
        now = self._loop.time()
        if self.error is not None:
            return
        if self._liveness.is_dead(now):
            silent_s = now - self._liveness.last_received
            self._lose(
                ConnectionLost(
                    f"RabbitMQ at {self._address.shown} has been silent for {silent_s:.0f} s: given up as dead"
                )
            )
            return
        if self._liveness.must_send(now):
            self._protocol.send_heartbeat()
            self.flush()
        self._timer = self._loop.call_later(self._liveness.tick_s, self._tick)

    def _lose(self, error: OperationalError, *, tell: bool = True) -> None:
        if self.error is not None:
            return
        self.error = error
        self._protocol.state = State.CLOSED
        self._closed.set()
        self._unblocked.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        if not self._opened.done():
            self._opened.set_exception(error)
            self._opened.exception()
        if self._outbox is not None:
            self._outbox.fail(error)
        for waiting in self._pending.values():
            for pending in waiting:
                pending.fail(error)
        self._pending.clear()
        if tell:
            self._sink.on_lost(error)
