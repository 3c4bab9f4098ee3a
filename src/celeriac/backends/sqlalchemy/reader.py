"""The reader: results, groups and chords for clients."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection

from celeriac.backends.sqlalchemy import chords, results, storing
from celeriac.backends.sqlalchemy.database import Database
from celeriac.backends.sqlalchemy.documents import Documents
from celeriac.backends.sqlalchemy.keys import key_of
from celeriac.backends.sqlalchemy.refusals import too_large
from celeriac.backends.sqlalchemy.rows import Limits, group_row
from celeriac.core.effects import Record
from celeriac.core.workflow import ChordOpening, ChordState, Collected
from celeriac.exceptions import MessageTooLarge


class DatabaseReader:
    """Reads and writes for clients. Thread-safe, fork-safe, blocking up to `database_timeout_s`; raises `BackendUnavailable`."""

    def __init__(self, database: Database, documents: Documents) -> None:
        self._database = database
        self._tables = database.tables
        self._documents = documents

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored documents of those ids that have one."""
        if not ids:
            return {}
        by_key = {key_of(task_id): task_id for task_id in ids}
        rows = self._database.read(lambda connection, _: results.fetch(connection, self._tables, by_key, time.time()))
        return {by_key[row.task_id]: self._documents.of_task(row) for row in rows if row.task_id in by_key}

    def store(self, records: Sequence[Record]) -> None:
        """Store records; a stored SUCCESS stays. Idempotent."""
        storing.store(self._database, records)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete results. Idempotent."""
        if ids:
            keys = [key_of(task_id) for task_id in ids]
            self._database.write(lambda connection, _: results.forget(connection, self._tables.tasks, keys))

    def save_group(self, group_id: str, payload: bytes, expires_s: float | None) -> None:
        """Keep the document of a group. Idempotent. Raises `MessageTooLarge` for one that the database does not take."""

        def work(connection: Connection, limits: Limits) -> None:
            if limits.document_bytes is not None and len(payload) > limits.document_bytes:
                raise MessageTooLarge(
                    f"group {group_id} cannot be saved: {too_large(len(payload), limits.document_bytes)}"
                )
            now = time.time()
            results.store_group(connection, self._tables, group_row(group_id, payload, expires_s, now, limits), now)

        self._database.write(work)

    def fetch_group(self, group_id: str) -> bytes | None:
        """Return the document of a saved group.

        Raises `DecodeError` or `ContentDisallowed` for one that Celery has saved in a form that is not read here.
        """
        key = key_of(group_id)
        row = self._database.read(lambda connection, _: results.fetch_group(connection, self._tables, key, time.time()))
        return None if row is None else self._documents.of_group(row)

    def forget_group(self, group_id: str) -> None:
        """Delete the document of a saved group. Idempotent."""
        keys = [key_of(group_id)]
        self._database.write(lambda connection, _: results.forget(connection, self._tables.groups, keys))

    def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords. Idempotent."""
        if openings:
            self._database.write(lambda connection, _: chords.open_all(connection, self._tables, openings, time.time()))

    def extend_chord(self, group_id: str, member_id: str, expires_s: float | None) -> None:
        """Have an open chord wait for one more member. Idempotent for each `member_id`."""
        self._database.write(
            lambda connection, _: chords.extend(connection, self._tables, group_id, member_id, expires_s, time.time())
        )

    def chords(self, group_ids: Sequence[str] | None = None, limit: int = 100) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest."""
        return self._database.read(
            lambda connection, _: chords.states(connection, self._tables, group_ids, limit, time.time())
        )

    def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""
        return self._database.read(
            lambda connection, _: chords.collect(connection, self._tables, group_id, time.time())
        )

    def close_chords(self, group_ids: Sequence[str]) -> None:
        """Forget all but that these chords are closed. Idempotent."""
        if group_ids:
            self._database.write(lambda connection, _: chords.close(connection, self._tables, group_ids, time.time()))

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._database.close()
