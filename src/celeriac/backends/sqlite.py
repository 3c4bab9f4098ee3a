"""The SQLite result backend: results in the embedded broker's file, or in one of their own."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection
from typing import Final, TypeVar

from celeriac.backends.sqlite_reader import SqliteReader
from celeriac.backends.sqlite_writer import SqliteWriter
from celeriac.core.settings import Settings
from celeriac.core.urls import mask
from celeriac.exceptions import BackendUnavailable
from celeriac.transports.sqlite import results
from celeriac.transports.sqlite.database import Database, Version
from celeriac.transports.sqlite.location import path_of
from celeriac.transports.sqlite.results import News
from celeriac.transports.sqlite.thread import DatabaseThread

T = TypeVar("T")

LONGEST_WAIT_S: Final = 60.0
"""A listener that hears nothing looks nevertheless, this often."""


class SqliteListener:
    """Tells when watched results arrive: it looks into the file whenever the file has changed. Belongs to one loop."""

    reply_to: str | None = None

    def __init__(self, path: str, settings: Settings) -> None:
        self._thread = DatabaseThread(Database(path, BackendUnavailable), "celeriac-sqlite-results")
        self._timeout_s = settings.publish_timeout_s
        self._deliver: Callable[[str, bytes], None] = _nobody
        self._watched: dict[str, int] = {}
        """Task id -> number of the newest state that was told."""
        self._number = 0
        """Of the newest state looked at."""

    async def open(self, deliver: Callable[[str, bytes], None]) -> None:
        """Connect, and tell about what was stored meanwhile for those that are watched."""
        self._deliver = deliver
        # From here on; what is older is told when it is watched, and again now for what was watched before.
        self._number = await self._read(results.newest)
        await self._tell(list(self._watched))

    async def watch(self, ids: Collection[str]) -> None:
        """Begin to tell about these tasks, and tell at once about those that already have a result."""
        for task_id in ids:
            self._watched.setdefault(task_id, 0)
        await self._tell(list(ids))

    async def unwatch(self, ids: Collection[str]) -> None:
        """Stop telling about these tasks."""
        for task_id in ids:
            self._watched.pop(task_id, None)

    async def run(self) -> None:
        """Receive until cancelled; raises `BackendUnavailable` when the file cannot be read."""
        while True:
            version, news = await self._thread.run(self._look)
            if news.started_over:
                self._watched = dict.fromkeys(self._watched, 0)
            await self._tell([task_id for _, task_id in news.stored if task_id in self._watched])
            self._number = news.number  # only now: had we been cancelled before, these would be asked for again
            await self._thread.changed(version, LONGEST_WAIT_S)

    async def close(self) -> None:
        """Close the connection and end the thread; idempotent."""
        await self._thread.close()

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._thread.run(lambda database: database.read(work, self._timeout_s))

    def _look(self, database: Database) -> tuple[Version, News]:
        version = database.version(self._timeout_s)
        return version, database.read(lambda connection: results.news(connection, self._number), self._timeout_s)

    async def _tell(self, ids: Collection[str]) -> None:
        if not ids:
            return
        found = await self._read(lambda connection: results.fetch(connection, ids, time.time()))
        for number, task_id, document in found:
            if number > self._watched.get(task_id, number):
                self._watched[task_id] = number
                self._deliver(task_id, document)


class SqliteBackend:
    """What `sqlite:///path.db` opens as a result backend; raises `ImproperlyConfigured` for a URL that names no file."""

    stores = True
    counts_chords = True
    replies = False

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._path = path_of(url)
        self._settings = settings

    def reader(self) -> SqliteReader:
        """Return a new reader."""
        return SqliteReader(self._path, self._settings)

    def listener(self) -> SqliteListener:
        """Return a new listener."""
        return SqliteListener(self._path, self._settings)

    def writer(self) -> SqliteWriter:
        """Return a new writer."""
        return SqliteWriter(self._path, self._settings)

    def shown_url(self) -> str:
        """Return the URL."""
        return mask(self._url)


def _nobody(task_id: str, document: bytes) -> None:
    """Stands in until `open` says whom to tell."""
