"""The SQLite result backend's side for clients."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from celeriac.core.effects import Record
from celeriac.core.settings import Settings
from celeriac.core.workflow import ChordOpening, ChordState, Collected
from celeriac.exceptions import BackendUnavailable
from celeriac.transports.sqlite import chords, groups, results
from celeriac.transports.sqlite.shared import SharedDatabase

T = TypeVar("T")


class SqliteReader:
    """Reads and writes results for clients; what is written is on the disk. Thread-safe, fork-safe, blocking."""

    def __init__(self, path: str, settings: Settings) -> None:
        self._database = SharedDatabase(path, BackendUnavailable)
        self._timeout_s = settings.publish_timeout_s

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored documents of those ids that have one."""
        found = self._read(lambda connection: results.fetch(connection, ids, time.time()))
        return {task_id: document for _, task_id, document in found}

    def store(self, records: Sequence[Record]) -> None:
        """Store the records. Idempotent."""
        self._write(lambda connection: results.store(connection, records, time.time()))

    def forget(self, ids: Sequence[str]) -> None:
        """Delete results. Idempotent."""
        self._write(lambda connection: results.forget(connection, ids))

    def save_group(self, group_id: str, payload: bytes, expires_s: float | None) -> None:
        """Keep the document of a group. Idempotent."""
        self._write(lambda connection: groups.save(connection, group_id, payload, expires_s, time.time()))

    def fetch_group(self, group_id: str) -> bytes | None:
        """Return the document of a saved group."""
        return self._read(lambda connection: groups.fetch(connection, group_id, time.time()))

    def forget_group(self, group_id: str) -> None:
        """Delete the document of a saved group, not its results. Idempotent."""
        self._write(lambda connection: groups.forget(connection, group_id))

    def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords; see `ResultReader.open_chords`. Idempotent."""
        self._write(lambda connection: chords.open_all(connection, openings, time.time()))

    def extend_chord(self, group_id: str, member_id: str, expires_s: float | None) -> None:
        """Have an open chord wait for one more member. Idempotent for each `member_id`."""
        self._write(lambda connection: chords.extend(connection, group_id, member_id, expires_s, time.time()))

    def chords(self, group_ids: Sequence[str] | None = None, limit: int = 100) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest."""
        return self._read(lambda connection: chords.states(connection, group_ids, limit, time.time()))

    def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""
        return self._read(lambda connection: chords.collect(connection, group_id, time.time()))

    def close_chords(self, group_ids: Sequence[str]) -> None:
        """Forget all of chords but that they are closed. Idempotent."""
        self._write(lambda connection: chords.close(connection, group_ids, time.time()))

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._database.close()

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._database.read(work, self._timeout_s)

    def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        self._database.write(work, self._timeout_s)
