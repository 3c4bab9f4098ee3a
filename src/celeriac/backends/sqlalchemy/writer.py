"""The writer: results and chords for a worker's core, and the housekeeping."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Table

from celeriac.backends.sqlalchemy import chords, results, setup, storing
from celeriac.backends.sqlalchemy.database import Database
from celeriac.backends.sqlalchemy.rows import Limits
from celeriac.backends.sqlalchemy.thread import OneThread
from celeriac.core.effects import Record
from celeriac.core.workflow import ChordOpening, ChordState, Collected, Part
from celeriac.exceptions import BackendUnavailable

logger = logging.getLogger("celeriac.results")

EXPIRE_EVERY_S: Final = 30.0
EXPIRE_MORE_EVERY_S: Final = 0.5
"""While there is more than one sweep's worth."""


class DatabaseWriter:
    """Stores results and counts chords for a worker. Belongs to one event loop; each call raises `BackendUnavailable`.

    1. Runs everything in one thread, so that the loop never waits for the database.
    2. Now and then, after a call, deletes what has expired; only as long as it is used, which a worker is.
    """

    def __init__(self, database: Database, result_expires_s: float | None) -> None:
        self._database = database
        self._tables = database.tables
        self._result_expires_s = result_expires_s
        self._thread = OneThread("celeriac-database-writer")
        self._expire_at = 0.0
        self._indexed: set[str] = set()
        """Tables that have the index by which what has expired is found."""
        self._warned: set[str] = set()

    async def store(self, records: Sequence[Record]) -> None:
        """Store all records, many in one transaction; a stored SUCCESS stays. Idempotent."""
        if records:
            await self._thread.run(lambda: storing.store(self._database, records))
            self._expire_soon()

    async def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords. Idempotent."""
        if openings:
            await self._thread.run(
                lambda: self._database.write(
                    lambda connection, _: chords.open_all(connection, self._tables, openings, time.time())
                )
            )

    async def join(self, parts: Sequence[Part]) -> list[bool]:
        """Add parts to their chords, and tell for each whether its member has to finish the chord. Idempotent."""
        if not parts:
            return []
        told = await self._thread.run(lambda: storing.join(self._database, parts))
        self._expire_soon()
        return told

    async def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""
        return await self._thread.run(
            lambda: self._database.read(
                lambda connection, _: chords.collect(connection, self._tables, group_id, time.time())
            )
        )

    async def close_chords(self, group_ids: Sequence[str]) -> None:
        """Forget all but that these chords are closed. Idempotent."""
        if group_ids:
            await self._thread.run(
                lambda: self._database.write(
                    lambda connection, _: chords.close(connection, self._tables, group_ids, time.time())
                )
            )

    async def chords(self, limit: int) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest."""
        return await self._thread.run(
            lambda: self._database.read(
                lambda connection, _: chords.states(connection, self._tables, None, limit, time.time())
            )
        )

    async def close(self) -> None:
        """Close the connections and end the thread; idempotent."""
        await self._thread.close(self._database.close)

    # -- housekeeping --------------------------------------------------------------------------------------------------

    def _expire_soon(self) -> None:
        if time.monotonic() >= self._expire_at:
            self._expire_at = time.monotonic() + EXPIRE_EVERY_S
            self._thread.post(self._expire)

    def _expire(self) -> None:
        """In the thread: delete what has expired, without anybody waiting for it."""
        try:
            if self._expire_some():
                self._expire_at = time.monotonic() + EXPIRE_MORE_EVERY_S
        except BackendUnavailable as error:
            logger.warning("expired results stay a while longer: %s", error)
        except Exception:  # a defect must not end the storing of results
            logger.exception("expired results could not be deleted")

    def _expire_some(self) -> bool:
        """Delete some, and return whether there is more."""
        now, expires_s, tables = time.time(), self._result_expires_s, self._tables
        more = self._database.write(lambda connection, _: chords.expire(connection, tables, now))
        for table in (tables.tasks, tables.groups):
            if self._has_index(table):

                def work(connection: Connection, limits: Limits, table: Table = table) -> bool:
                    return results.expire(connection, table, now, expires_s)

                more = self._database.write(work) or more
        return more

    def _has_index(self, table: Table) -> bool:
        if table.fullname in self._indexed:
            return True
        statement = self._database.write(lambda connection, _: setup.find_index(connection, table))
        if statement is None:
            self._indexed.add(table.fullname)
        elif table.fullname not in self._warned:
            self._warned.add(table.fullname)
            logger.warning(
                "expired results stay in %s, which is large and has no index for them; run: %s",
                table.fullname,
                statement,
            )
        return statement is None
