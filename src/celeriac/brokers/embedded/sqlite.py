"""The SQLite broker: what `sqlite:///path.db` opens, and its producer."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from celeriac.brokers.declaring import unroutable
from celeriac.brokers.embedded import exchanges, messages
from celeriac.brokers.embedded.sqlite_admin import SqliteAdmin
from celeriac.brokers.embedded.sqlite_consumer import SqliteConsumer
from celeriac.brokers.embedded.sqlite_messenger import SqliteMessenger
from celeriac.core.boards import Move
from celeriac.core.message import Message
from celeriac.core.priorities import First
from celeriac.core.queues import QueueTable
from celeriac.core.settings import Settings
from celeriac.core.urls import mask
from celeriac.exceptions import BrokerUnavailable
from celeriac.transports.sqlite.boards import write_board
from celeriac.transports.sqlite.location import path_of, same_file
from celeriac.transports.sqlite.shared import SharedDatabase


class SqliteProducer:
    """Publishes into the file. Thread-safe, fork-safe, blocking."""

    def __init__(self, path: str, queues: QueueTable) -> None:
        self._queues = queues
        self._database = SharedDatabase(path, BrokerUnavailable)

    def publish(self, batch: Sequence[Message], timeout_s: float) -> None:
        """Insert all messages in one transaction, on the disk when it returns.

        Raises `BrokerUnavailable` when the file could not be written within `timeout_s` seconds, and then nothing of the
        batch was published: here the outcome is always known, so `PublishTimeout` is never raised.  Raises `Unroutable` for
        messages to an exchange that has no queue for them, when all others have been published.
        """
        if not batch:
            return

        lost = self._database.write(lambda connection: self._insert(connection, batch), timeout_s)
        if lost:
            raise unroutable(lost)

    def publish_once(self, board: str, move: Move, batch: Sequence[Message], timeout_s: float) -> bool:
        """Make a move on a board and insert the messages, in one transaction; see `OnceProducer.publish_once`."""

        def work(connection: sqlite3.Connection) -> list[Message] | None:
            if write_board(connection, board, [move]) != [True]:
                return None
            return self._insert(connection, batch)

        lost = self._database.write(work, timeout_s)
        if lost:
            raise unroutable(lost)
        return lost is not None

    def _insert(self, connection: sqlite3.Connection, batch: Sequence[Message]) -> list[Message]:
        """Put messages where they belong, and return those that belong nowhere."""
        routed = exchanges.route(connection, batch, self._queues)
        messages.publish(connection, routed.messages, time.time())
        return routed.unroutable

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._database.close()


class SqliteBroker:
    """A broker in one file, shared by the processes of one machine; nothing is opened yet.

    Keeps results too, in the same transaction as the settlement, when `result_backend` is not set or names the same file.
    Raises `ImproperlyConfigured` for a URL that names no file.
    """

    durable = True
    urgent_first: First = "low"

    def __init__(self, url: str, settings: Settings, queues: QueueTable | None = None) -> None:
        self.queues = queues or QueueTable(settings)
        self._url = url
        self._path = path_of(url)
        self._settings = settings
        backend = settings.result_backend
        self._keeps_records = backend is None or same_file(url, backend)

    def producer(self) -> SqliteProducer:
        """Return a new producer."""
        return SqliteProducer(self._path, self.queues)

    def admin(self) -> SqliteAdmin:
        """Return a new admin."""
        return SqliteAdmin(self._path, self._settings, self.queues)

    def consumer(self) -> SqliteConsumer:
        """Return a new consumer."""
        return SqliteConsumer(self._path, self._settings, self.queues, stores_records=self._keeps_records)

    def messenger(self) -> SqliteMessenger:
        """Return a new messenger."""
        return SqliteMessenger(self._path, self._settings)

    def shown_url(self) -> str:
        """Return the URL."""
        return mask(self._url)
