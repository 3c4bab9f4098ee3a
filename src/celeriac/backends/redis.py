"""The Redis result backend: Celery's keys and channels, so that both read what the other stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

from celeriac.core.effects import Record
from celeriac.core.settings import Settings
from celeriac.exceptions import BackendUnavailable
from celeriac.transports.redis.address import Address, parse_address
from celeriac.transports.redis.blocking import Pool
from celeriac.transports.redis.connection import Connection
from celeriac.transports.redis.errors import backend_errors
from celeriac.transports.redis.protocol import Word
from celeriac.transports.redis.results import ResultKeys, record_words

_CALL_S: Final = 5.0
_KEYS_AT_ONCE: Final = 100
_CHANNELS_AT_ONCE: Final = 1000
_RECORDS_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
_SIGN_OF_LIFE_EVERY_S: Final = 10.0


class RedisBackend:
    """A Redis server (6.2 or newer) as result backend."""

    stores = True

    def __init__(self, url: str, settings: Settings) -> None:
        """Take the URL apart; nothing is connected yet. Raises `ImproperlyConfigured`."""
        self._address = parse_address(url)
        self._keys = ResultKeys(settings.result_backend_transport_options)
        self._connect_timeout_s = settings.broker_connection_timeout

    def reader(self) -> RedisResultReader:
        return RedisResultReader(self._address, self._keys, self._connect_timeout_s)

    def listener(self) -> RedisResultListener:
        return RedisResultListener(self._address, self._keys, self._connect_timeout_s)

    def writer(self) -> RedisResultWriter:
        return RedisResultWriter(self._address, self._keys, self._connect_timeout_s)

    def shown_url(self) -> str:
        return self._address.shown


class RedisResultReader:
    """Reads results. Thread-safe, fork-safe, blocking; each step has a deadline of 5 s."""

    def __init__(self, address: Address, keys: ResultKeys, connect_timeout_s: float) -> None:
        self._keys = keys
        self._pool = Pool(address, connect_timeout_s)
        self._errors = backend_errors(address)

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored documents of those ids that have one. Raises `BackendUnavailable`."""
        found: dict[str, bytes] = {}
        with self._errors:
            for some in _parts(ids, _KEYS_AT_ONCE):
                (documents,) = self._pool.ask(["MGET", *map(self._keys.task, some)], deadline=_deadline())
                found |= {
                    task_id: document for task_id, document in zip(some, documents, strict=True) if document is not None
                }
        return found

    def store(self, records: Sequence[Record]) -> None:
        """Store records; a stored SUCCESS stays. Idempotent. Raises `BackendUnavailable`."""
        with self._errors:
            for words in _record_batches(self._keys, records):
                self._pool.run("store", [], *words, deadline=_deadline())

    def forget(self, ids: Sequence[str]) -> None:
        """Delete results. Idempotent. Raises `BackendUnavailable`."""
        with self._errors:
            for some in _parts(ids, _CHANNELS_AT_ONCE):
                self._pool.ask(["UNLINK", *map(self._keys.task, some)], deadline=_deadline())

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._pool.close()


class RedisResultListener:
    """Tells when results arrive.

    1. Subscribes to the channel of every watched task, and then reads what was stored before.
    2. Delivers both in the order in which they happened, all over one connection.
    3. Asks for a sign of life now and then, so that a dead connection is noticed although nothing is sent.
    """

    reply_to: str | None = None

    def __init__(self, address: Address, keys: ResultKeys, connect_timeout_s: float) -> None:
        self._address = address
        self._keys = keys
        self._connect_timeout_s = connect_timeout_s
        self._errors = backend_errors(address)
        self._watched: set[str] = set()
        self._connection: Connection | None = None
        self._deliver: Callable[[str, bytes], None] = lambda task_id, document: None

    async def open(self, deliver: Callable[[str, bytes], None]) -> None:
        """Connect, and watch again what was watched; see `ResultListener.open`."""
        self._drop()
        self._deliver = deliver
        with self._errors:
            self._connection = await Connection.connect(self._address, self._connect_timeout_s, self._on_push)
            await self._subscribe(self._connection, list(self._watched))

    async def watch(self, ids: Collection[str]) -> None:
        """Begin to tell about these tasks; those that have a result are told at once. Raises `BackendUnavailable`.

        After a failure they are watched as soon as the listener is opened again.
        """
        self._watched.update(ids)
        with self._errors:
            await self._subscribe(self._opened(), list(ids))

    async def unwatch(self, ids: Collection[str]) -> None:
        """Stop telling about these tasks."""
        self._watched.difference_update(ids)
        connection = self._connection
        if connection is not None and connection.is_open:
            for some in _parts(list(ids), _CHANNELS_AT_ONCE):
                done = connection.change_channels("UNSUBSCRIBE", [self._keys.task(task_id) for task_id in some])
                done.add_done_callback(_no_matter)

    async def run(self) -> None:
        """Receive until cancelled; raises `BackendUnavailable` when the connection is lost."""
        connection = self._opened()
        with self._errors:
            while not connection.closed.done():
                await asyncio.wait([connection.closed], timeout=_SIGN_OF_LIFE_EVERY_S)
                if not connection.closed.done():
                    await connection.call("PING")
        raise BackendUnavailable(f"Redis at {self._address.shown} was lost: {connection.closed.result()}")

    async def close(self) -> None:
        """Close the connection; idempotent."""
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> Connection:
        if self._connection is None:
            raise BackendUnavailable(f"the listener for {self._address.shown} is not open: open it first")
        return self._connection

    async def _subscribe(self, connection: Connection, ids: Sequence[str]) -> None:
        answers: list[asyncio.Future[Any]] = []
        for some in _parts(ids, _KEYS_AT_ONCE):
            keys = [self._keys.task(task_id) for task_id in some]
            answers.append(connection.change_channels("SUBSCRIBE", keys))
            # In the order of the server: what is published after this reading arrives after this reply.
            reading = connection.call("MGET", *keys)
            reading.add_done_callback(self._teller(some))
            answers.append(reading)
        # Shielded: what was stored is to be told although this call is cancelled.
        outcomes = await asyncio.shield(asyncio.gather(*answers, return_exceptions=True))
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _teller(self, ids: Sequence[str]) -> Callable[[asyncio.Future[Any]], None]:
        def tell(reading: asyncio.Future[Any]) -> None:
            if reading.exception() is None:
                for task_id, document in zip(ids, reading.result(), strict=True):
                    if document is not None:
                        self._tell(task_id, document)

        return tell

    def _on_push(self, push: list[Any]) -> None:
        if push[0] == b"message":
            # Not at once: replies that came before it are told in the loop's next turn, and must be told before it.
            asyncio.get_running_loop().call_soon(self._tell, self._keys.task_id(push[1]), push[2])

    def _tell(self, task_id: str, document: bytes) -> None:
        if task_id in self._watched:
            self._deliver(task_id, document)


class RedisResultWriter:
    """Stores results from a worker's core, over one connection that is made anew when it breaks."""

    def __init__(self, address: Address, keys: ResultKeys, connect_timeout_s: float) -> None:
        self._address = address
        self._keys = keys
        self._connect_timeout_s = connect_timeout_s
        self._errors = backend_errors(address)
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()

    async def store(self, records: Sequence[Record]) -> None:
        """Store all records and tell who waits; a stored SUCCESS stays. Idempotent. Raises `BackendUnavailable`."""
        with self._errors:
            for words in _record_batches(self._keys, records):
                connection = await self._connected()
                await connection.run_surely(connection.scripts.store, [], *words)

    async def close(self) -> None:
        """Close the connection; idempotent."""
        if self._connection is not None:
            self._connection.close()

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or not self._connection.is_open:
                self._connection = await Connection.connect(self._address, self._connect_timeout_s)
            return self._connection


def _no_matter(done: asyncio.Future[Any]) -> None:
    done.exception()  # a connection that is lost has no subscriptions left


def _deadline() -> float:
    return time.monotonic() + _CALL_S


def _record_batches(keys: ResultKeys, records: Sequence[Record]) -> Iterator[list[Word]]:
    words: list[Word] = []
    count = size = 0
    for record in records:
        if count and (count >= _RECORDS_AT_ONCE or size + len(record.payload) > _BYTES_AT_ONCE):
            yield words
            words, count, size = [], 0, 0
        words += record_words(keys, record)
        count += 1
        size += len(record.payload)
    if words:
        yield words


def _parts(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
