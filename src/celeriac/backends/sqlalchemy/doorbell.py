"""PostgreSQL's LISTEN and NOTIFY: who stores a result rings, and who waits for it hears it at once.

Other databases have nothing of the kind, and neither has a connection through a pooler in transaction mode: there listeners look
again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, text

from celeriac.backends.sqlalchemy.database import Database
from celeriac.backends.sqlalchemy.drivers import POSTGRESQL
from celeriac.backends.sqlalchemy.thread import OneThread

CHANNEL: Final = "celeriac_results"
_PAYLOAD_MAX_BYTES: Final = 7000
"""PostgreSQL takes less than 8000."""
_DRIVER: Final = "psycopg"

_RING: Final = text("SELECT pg_notify(:channel, :keys)")


def ring(connection: Connection, keys: Sequence[str]) -> None:
    """Tell about these results when the transaction is committed; does nothing where there is no bell."""
    if connection.dialect.name == POSTGRESQL:
        for payload in _payloads(keys):
            connection.execute(_RING, {"channel": CHANNEL, "keys": payload})


class Doorbell:
    """A connection of its own that hears the bell, in an event loop. Belongs to that loop; the connection to its thread."""

    def __init__(self, database: Database, thread: OneThread, hear: Callable[[list[str]], None]) -> None:
        self._database = database
        self._thread = thread
        self._hear = hear
        self._connection: Connection | None = None
        self._is_asked = False
        """The thread has been asked for a connection."""
        self._raw: Any = None
        """The driver's side of it, while the loop listens to it."""
        self._descriptor = -1
        self.broken = False
        """The connection was lost; the bell has to be opened again."""

    @property
    def works(self) -> bool:
        """Whether rings are heard."""
        return self._raw is not None

    async def open(self) -> None:
        """Begin to hear, where there is a bell. Raises `BackendUnavailable`."""
        await self.close()
        self.broken = False
        if (self._database.dialect.name, self._database.dialect.driver) != (POSTGRESQL, _DRIVER):
            return
        self._is_asked = True
        self._raw = await self._thread.run(self._connect)
        self._descriptor = self._raw.fileno()
        try:
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        except NotImplementedError:  # a loop that can't wait for sockets that it has not made
            self._raw = None
            await self.close()

    async def close(self) -> None:
        """Hear no more; idempotent."""
        raw, self._raw = self._raw, None
        if raw is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        if self._is_asked:  # even if whoever opened it was cancelled while the thread connected
            await self._thread.run(self._disconnect)
            self._is_asked = False

    def _connect(self) -> Any:
        """In the thread: return the driver's side of a connection that listens."""
        self._connection, raw = self._database.hold(_listen)
        return raw

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it may be lost already
                connection.close()

    def _read(self) -> None:
        """In the loop, when something has come in: never blocks."""
        keys: list[str] = []
        try:
            self._raw.pgconn.consume_input()
            while (note := self._raw.pgconn.notifies()) is not None:
                keys += note.extra.decode("ascii", "replace").split("\n")
        except Exception:  # whatever the driver says: it is lost
            self.broken = True
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._hear(keys)


def _listen(connection: Connection) -> Any:
    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
    connection.exec_driver_sql(f"LISTEN {CHANNEL}")
    return connection.connection.driver_connection


def _payloads(keys: Sequence[str]) -> Iterator[str]:
    payload = ""
    for key in keys:
        if payload and len(payload) + 1 + len(key) > _PAYLOAD_MAX_BYTES:
            yield payload
            payload = ""
        payload = f"{payload}\n{key}" if payload else key
    if payload:
        yield payload
