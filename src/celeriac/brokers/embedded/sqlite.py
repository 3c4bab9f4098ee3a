"""The SQLite broker: what `sqlite:///path.db` opens, and its producer."""

from __future__ import annotations

import time
from collections.abc import Sequence

from celeriac.brokers.embedded import messages
from celeriac.brokers.embedded.sqlite_admin import SqliteAdmin
from celeriac.brokers.embedded.sqlite_consumer import SqliteConsumer
from celeriac.core.message import Message
from celeriac.core.settings import Settings
from celeriac.core.urls import mask
from celeriac.exceptions import BrokerUnavailable
from celeriac.transports.sqlite.location import path_of, same_file
from celeriac.transports.sqlite.shared import SharedDatabase


class SqliteProducer:
    """Publishes into the file. Thread-safe, fork-safe, blocking."""

    def __init__(self, path: str) -> None:
        self._database = SharedDatabase(path, BrokerUnavailable)

    def publish(self, batch: Sequence[Message], timeout_s: float) -> None:
        """Insert all messages in one transaction, on the disk when it returns.

        Raises `BrokerUnavailable` when the file could not be written within `timeout_s` seconds, and then nothing of the
        batch was published: here the outcome is always known, so `PublishTimeout` is never raised.
        """
        if batch:
            self._database.write(lambda connection: messages.publish(connection, batch, time.time()), timeout_s)

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._database.close()


class SqliteBroker:
    """A broker in one file, shared by the processes of one machine; nothing is opened yet.

    Keeps results too, in the same transaction as the settlement, when `result_backend` is not set or names the same file.
    Raises `ImproperlyConfigured` for a URL that names no file.
    """

    durable = True

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._path = path_of(url)
        self._settings = settings
        backend = settings.result_backend
        self._keeps_records = backend is None or same_file(url, backend)

    def producer(self) -> SqliteProducer:
        """Return a new producer."""
        return SqliteProducer(self._path)

    def admin(self) -> SqliteAdmin:
        """Return a new admin."""
        return SqliteAdmin(self._path, self._settings)

    def consumer(self) -> SqliteConsumer:
        """Return a new consumer."""
        return SqliteConsumer(self._path, self._settings, stores_records=self._keeps_records)

    def shown_url(self) -> str:
        """Return the URL."""
        return mask(self._url)
