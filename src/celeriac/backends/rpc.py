"""`rpc://`: results are sent over RabbitMQ to a reply queue of the process that asked, as Celery's backend of that name does.

Nothing is stored on the broker beyond that queue.  What arrives is kept in a bounded memory that the reader and the listener of
one `RpcBackend` object share: the listener fills it, `watch` replays from it, and `fetch` looks into it.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from celeriac.backends.uncounted import UncountedReader, UncountedWriter
from celeriac.core.effects import Record
from celeriac.core.settings import Settings
from celeriac.core.states import SUCCESS
from celeriac.core.urls import mask, scheme
from celeriac.exceptions import BackendUnavailable, ImproperlyConfigured, OperationalError
from celeriac.transports.amqp.aio import CONSUME_CHANNEL, AsyncConnection
from celeriac.transports.amqp.blocking import connection_name
from celeriac.transports.amqp.nodes import Nodes
from celeriac.transports.amqp.outbox import Publish
from celeriac.transports.amqp.protocol import methods
from celeriac.transports.amqp.protocol.errors import CodecError
from celeriac.transports.amqp.protocol.events import Cancelled, ChannelClosed, Delivered
from celeriac.transports.amqp.protocol.properties import encode_properties, split_properties
from celeriac.transports.amqp.topology import Topology
from celeriac.wire import result_meta, serializers

KEPT_RESULTS: Final = 10_000
"""Default of the transport option `kept_results`: documents kept for those who ask later."""
KEPT_BYTES: Final = 256 * 1024 * 1024
_MINIMUM_EXPIRES_S: Final = 1.0
_DEFAULT_EXPIRES_S: Final = 86_400.0
"""Of the reply queue, where results are to be kept for ever: the queue of a dead process has to go some time."""


class _Status(Struct):
    status: str


def _is_success(document: bytes) -> bool:
    try:
        return msgspec.json.decode(document, type=_Status).status == SUCCESS
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False  # whatever it is, it does not stand in the way of a better one


class RpcBackend:
    """Results as messages; the broker must be RabbitMQ."""

    stores = True
    counts_chords = False

    def __init__(self, settings: Settings) -> None:
        self._nodes = _broker_nodes(settings)
        self._settings = settings
        kept = settings.result_backend_transport_options.get("kept_results", KEPT_RESULTS)
        if not isinstance(kept, int) or kept < 1:
            raise ImproperlyConfigured(
                f"result_backend_transport_options['kept_results'] = {kept!r} must be a number from 1"
            )
        self._arrived = Arrived(kept)

    def reader(self) -> RpcReader:
        """Return a reader of what this object's listeners received."""
        return RpcReader(self._arrived)

    def listener(self) -> RpcListener:
        """Return a listener with a reply queue of its own."""
        return RpcListener(self._nodes, self._settings, self._arrived)

    def writer(self) -> RpcWriter:
        """Return a side that sends results."""
        return RpcWriter(self._nodes, self._settings)

    def shown_url(self) -> str:
        """Return the URL with the password masked."""
        return f"rpc:// over {self._nodes.shown}"


def _broker_nodes(settings: Settings) -> Nodes:
    url = settings.broker_url or ""
    kind = scheme(url)
    if kind in ("amqp", "amqps", "pyamqp"):
        return Nodes.of(url, settings.broker_failover_strategy)
    if kind in ("redis", "rediss"):
        raise ImproperlyConfigured(
            f"result backend rpc:// sends results over RabbitMQ, but broker_url is {mask(url)};"
            f" set result_backend to a {kind}:// URL, for example {mask(url)}"
        )
    broker = mask(url) if url else "the embedded broker"
    raise ImproperlyConfigured(
        f"result backend rpc:// sends results over RabbitMQ, but the broker is {broker};"
        " leave result_backend out, or set broker_url to an amqp:// URL"
    )


class Arrived:
    """Documents that arrived, newest last, as many as may be kept. Thread-safe."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._documents: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._told: list[Callable[[str, bytes], None]] = []

    def put(self, task_id: str, document: bytes) -> None:
        """Keep a document and tell the listeners; a success is not overwritten."""
        with self._lock:
            present = self._documents.get(task_id)
            if present is not None and _is_success(present):
                return
            self._remove(task_id)
            self._documents[task_id] = document
            self._bytes += len(document)
            while len(self._documents) > self._kept or (self._bytes > KEPT_BYTES and len(self._documents) > 1):
                self._remove(next(iter(self._documents)))
            told = list(self._told)
        for tell in told:
            tell(task_id, document)

    def get(self, task_ids: Collection[str]) -> dict[str, bytes]:
        """Return the documents of these tasks that are here."""
        with self._lock:
            return {task_id: found for task_id in task_ids if (found := self._documents.get(task_id)) is not None}

    def remove(self, task_ids: Collection[str]) -> None:
        """Forget documents."""
        with self._lock:
            for task_id in task_ids:
                self._remove(task_id)

    def _remove(self, task_id: str) -> None:
        document = self._documents.pop(task_id, None)
        if document is not None:
            self._bytes -= len(document)

    def subscribe(self, tell: Callable[[str, bytes], None]) -> None:
        """Call `tell` for everything that is put, in the thread that puts it."""
        with self._lock:
            self._told.append(tell)

    def unsubscribe(self, tell: Callable[[str, bytes], None]) -> None:
        """Stop that. Idempotent."""
        with self._lock:
            if tell in self._told:
                self._told.remove(tell)


class RpcReader(UncountedReader):
    """Reads from memory what the listener received. Thread-safe; never waits."""

    shown = "rpc://"

    def __init__(self, arrived: Arrived) -> None:
        self._arrived = arrived

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the documents of those ids that have arrived here."""
        return self._arrived.get(ids)

    def store(self, records: Sequence[Record]) -> None:
        """Keep records of this process's own (eager results)."""
        for record in records:
            self._arrived.put(record.id, record.payload)

    def forget(self, ids: Sequence[str]) -> None:
        """Forget results. Idempotent."""
        self._arrived.remove(ids)

    def close(self) -> None:
        """Do nothing: there is no connection."""


class RpcListener:
    """Consumes the reply queue.

    1. Owns a connection, and on it the reply queue, which RabbitMQ deletes when the connection is gone.
    2. Puts what arrives into the shared memory, and from there tells about what is watched.

    Runs in one event loop.
    """

    def __init__(self, nodes: Nodes, settings: Settings, arrived: Arrived) -> None:
        self.reply_to: str | None = str(uuid.uuid4())
        self._nodes = nodes
        self._settings = settings
        self._arrived = arrived
        self._watched: set[str] = set()
        self._deliver: Callable[[str, bytes], None] | None = None
        self._connection: AsyncConnection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lost: asyncio.Future[None] | None = None

    async def open(self, deliver: Callable[[str, bytes], None]) -> None:
        """Connect and declare the reply queue; watches again what was watched. Raises `BackendUnavailable`."""
        await self._disconnect()
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._lost = self._loop.create_future()
        self._arrived.subscribe(self._on_put)
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await self._start()
        except (OperationalError, TimeoutError) as error:
            await self._disconnect()
            why = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise BackendUnavailable(f"results cannot be received: {why}") from None
        except BaseException:
            await self._disconnect()
            raise
        self._tell_known(self._watched)

    async def _start(self) -> None:
        assert self.reply_to is not None
        self._connection = await AsyncConnection.open(
            self._nodes,
            self,
            heartbeat_s=self._settings.broker_heartbeat,
            timeout_s=self._settings.broker_connection_timeout,
            name=connection_name("results"),
        )
        expires_s = max(self._settings.result_expires or _DEFAULT_EXPIRES_S, _MINIMUM_EXPIRES_S)
        async with self._connection.lock(CONSUME_CHANNEL):
            calls = [
                methods.queue_declare(self.reply_to, auto_delete=True, arguments={"x-expires": int(expires_s * 1000)}),
                methods.basic_consume(self.reply_to, "results", no_ack=True),
            ]
            await self._connection.call(CONSUME_CHANNEL, calls)

    async def watch(self, ids: Collection[str]) -> None:
        """Begin to tell about these tasks, and tell at once about those whose result has arrived."""
        self._watched |= set(ids)
        self._tell_known(ids)

    async def unwatch(self, ids: Collection[str]) -> None:
        """Stop telling about these tasks."""
        self._watched -= set(ids)

    async def run(self) -> None:
        """Receive until cancelled; raises `BackendUnavailable` when the connection is lost."""
        if self._lost is None:
            raise BackendUnavailable("results cannot be received: not connected")
        await asyncio.shield(self._lost)

    async def close(self) -> None:
        """Close the connection; idempotent."""
        await self._disconnect()

    async def _disconnect(self) -> None:
        self._arrived.unsubscribe(self._on_put)
        connection, self._connection = self._connection, None
        lost, self._lost = self._lost, None
        if lost is not None:
            lost.cancel()
        if connection is not None:
            await connection.close()

    def _tell_known(self, ids: Collection[str]) -> None:
        for task_id, document in self._arrived.get(ids).items():
            self._tell(task_id, document)

    def _tell(self, task_id: str, document: bytes) -> None:
        if self._deliver is not None and task_id in self._watched:
            self._deliver(task_id, document)

    def _on_put(self, task_id: str, document: bytes) -> None:
        """Something was put into the memory, by this loop or by another thread."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._tell, task_id, document)
        except RuntimeError:
            pass  # the loop is closed: nobody watches any more

    def _lose(self, why: str) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_exception(BackendUnavailable(f"results cannot be received: {why}"))
            self._lost.exception()  # heard of by `run`, if anybody runs it

    # -- what the connection tells ------------------------------------------------------------------------------------

    def on_delivered(self, event: Delivered) -> None:
        """A result arrived."""
        try:
            task_id = split_properties(event.properties)[0].get("correlation_id")
        except CodecError:
            return  # no result of anybody's
        if isinstance(task_id, str):
            self._arrived.put(task_id, event.body)

    def on_cancelled(self, event: Cancelled) -> None:
        """The reply queue was deleted."""
        self._lose(f"RabbitMQ deleted the reply queue {self.reply_to}")

    def on_channel_closed(self, event: ChannelClosed) -> None:
        """RabbitMQ closed the channel of the reply queue."""
        self._lose(f"{event.code} {event.text}")

    def on_lost(self, error: OperationalError) -> None:
        """The connection is gone."""
        self._lose(str(error))


class RpcWriter(UncountedWriter):
    """Sends results to their reply queues, confirmed.

    Owns a connection: opened by the first `store`, and anew by the next one after a failure.  Runs in one event loop.
    """

    shown = "rpc://"

    def __init__(self, nodes: Nodes, settings: Settings) -> None:
        self._nodes = nodes
        self._settings = settings
        self._connection: AsyncConnection | None = None
        self._connecting = asyncio.Lock()
        self._topology = Topology(settings)
        self._content = serializers.content_of(settings.result_serializer)

    async def store(self, records: Sequence[Record]) -> None:
        """Send all records that have a reply queue; one whose queue is gone has nobody who waits for it.

        Raises `BackendUnavailable`; repeating it sends a record twice, which the reader does not notice.
        """
        publishes = [self._publish(record) for record in records if record.reply_to]
        if not publishes:
            return
        try:
            connection = await self._ready_connection()
            await connection.publish(self._topology.publish(publishes), self._settings.publish_timeout_s)
        except OperationalError as error:
            self._drop()
            raise BackendUnavailable(f"results could not be sent: {error}") from None

    def _publish(self, record: Record) -> Publish:
        properties = encode_properties(
            {
                "content_type": self._content[0],
                "content_encoding": self._content[1],
                "headers": {},
                "delivery_mode": 2 if self._settings.result_persistent else 1,
                "priority": 0,
                "correlation_id": record.id,
            }
        )
        # Celery's callers do not expect a reply to be compressed.
        payload = result_meta.uncompressed(record.payload)
        return Publish("", record.reply_to, properties, payload, record.reply_to, mandatory=False)

    async def _ready_connection(self) -> AsyncConnection:
        async with self._connecting:
            connection = self._connection
            if connection is None or not connection.usable:
                self._drop()
                connection = self._connection = await AsyncConnection.open(
                    self._nodes,
                    self,
                    heartbeat_s=self._settings.broker_heartbeat,
                    timeout_s=self._settings.broker_connection_timeout,
                    name=connection_name("result writer"),
                )
            return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()

    async def close(self) -> None:
        """Close the connection; idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    # -- what the connection tells: nothing that the next `store` would not notice ------------------------------------

    def on_delivered(self, event: Delivered) -> None:
        """Nothing is consumed here."""

    def on_cancelled(self, event: Cancelled) -> None:
        """Nothing is consumed here."""

    def on_channel_closed(self, event: ChannelClosed) -> None:
        """The next `store` opens another one."""

    def on_lost(self, error: OperationalError) -> None:
        """The next `store` connects again."""
