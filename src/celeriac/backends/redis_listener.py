"""The Redis result backend's side that tells when results arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from celeriac.exceptions import BackendUnavailable
from celeriac.transports.redis.address import Address
from celeriac.transports.redis.batches import KEYS_AT_ONCE, slices
from celeriac.transports.redis.connection import Connection
from celeriac.transports.redis.errors import backend_errors
from celeriac.transports.redis.results import ResultKeys

_CHANNELS_AT_ONCE: Final = 1000
_SIGN_OF_LIFE_EVERY_S: Final = 10.0


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
            for some in slices(list(ids), _CHANNELS_AT_ONCE):
                done = connection.change_channels("UNSUBSCRIBE", [self._keys.task(task_id) for task_id in some])
                done.add_done_callback(_no_matter)

    async def run(self) -> None:
        """Receive until cancelled; raises `BackendUnavailable` when the connection is lost."""
        connection = self._opened()
        with self._errors:
            while not connection.closed.done():
                await asyncio.wait([connection.closed], timeout=_SIGN_OF_LIFE_EVERY_S)
                if not connection.closed.done():
                    await connection.confirm(self._address)
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
        for some in slices(ids, KEYS_AT_ONCE):
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


def _no_matter(done: asyncio.Future[Any]) -> None:
    done.exception()  # a connection that is lost has no subscriptions left
