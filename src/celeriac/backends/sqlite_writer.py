"""The SQLite result backend's side for workers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from celeriac.core.effects import Record
from celeriac.core.settings import Settings
from celeriac.core.workflow import ChordOpening, ChordState, Collected, Part
from celeriac.exceptions import BackendUnavailable
from celeriac.transports.sqlite import chords, results
from celeriac.transports.sqlite.database import Database
from celeriac.transports.sqlite.expiry import expire_results
from celeriac.transports.sqlite.thread import DatabaseThread

T = TypeVar("T")

EXPIRE_EVERY_S: Final = 30.0


class SqliteWriter:
    """Stores results and joins chords; each call is one transaction, on the disk when it returns. Belongs to one loop.

    A worker whose broker is the same file has its consumer store and join, in the transaction of the settlement.
    """

    def __init__(self, path: str, settings: Settings) -> None:
        self._thread = DatabaseThread(Database(path, BackendUnavailable), "celeriac-sqlite-writer")
        self._timeout_s = settings.publish_timeout_s
        self._expire_at = 0.0

    async def store(self, records: Sequence[Record]) -> None:
        """Store all records. Idempotent."""
        await self._write(lambda connection: results.store(connection, records, time.time()))

    async def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords; see `ResultReader.open_chords`. Idempotent."""
        await self._write(lambda connection: chords.open_all(connection, openings, time.time()))

    async def join(self, parts: Sequence[Part]) -> list[bool]:
        """Add parts to their chords, and tell for each whether its member has to finish the chord."""
        return await self._write(lambda connection: chords.join(connection, parts, time.time()))

    async def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""
        return await self._read(lambda connection: chords.collect(connection, group_id, time.time()))

    async def close_chords(self, group_ids: Sequence[str]) -> None:
        """Forget all of chords but that they are closed. Idempotent."""
        await self._write(lambda connection: chords.close(connection, group_ids, time.time()))

    async def chords(self, limit: int) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest."""
        return await self._read(lambda connection: chords.states(connection, None, limit, time.time()))

    async def close(self) -> None:
        """Close the connection and end the thread; idempotent."""
        await self._thread.close()

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._thread.run(lambda database: database.read(work, self._timeout_s))

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._thread.run(lambda database: self._write_and_tidy(database, work))

    def _write_and_tidy(self, database: Database, work: Callable[[sqlite3.Connection], T]) -> T:
        """In the thread: write, and now and then delete what has expired."""
        done = database.write(work, self._timeout_s)
        if time.monotonic() >= self._expire_at:
            self._expire_at = time.monotonic() + EXPIRE_EVERY_S
            database.write(lambda connection: expire_results(connection, time.time()), self._timeout_s)
        return done
