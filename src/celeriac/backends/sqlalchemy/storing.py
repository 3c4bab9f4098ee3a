"""Storing results and joining parts, whatever the database thinks of one of them: both sides do it the same way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from sqlalchemy import Connection

from celeriac.backends.sqlalchemy import chords, doorbell, results
from celeriac.backends.sqlalchemy.database import Database, Refused
from celeriac.backends.sqlalchemy.refusals import refused_part, refused_record, too_large
from celeriac.backends.sqlalchemy.rows import Limits, Row, spare_row, task_row
from celeriac.core.effects import Record
from celeriac.core.workflow import Part

T = TypeVar("T")

_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024


def store(database: Database, records: Sequence[Record]) -> None:
    """Store records, many in one transaction. Raises `BackendUnavailable`.

    What the database does not take is replaced by a record that says so.
    """
    for some in _batches(records, lambda record: len(record.payload)):
        try:
            _store(database, some)
        except Refused:
            for record in some:  # one that is refused must hold up no other
                _store_surely(database, record)


def join(database: Database, parts: Sequence[Part]) -> list[bool]:
    """Add parts to their chords; see `ResultWriter.join`. Raises `BackendUnavailable`."""
    told: list[bool] = []
    for some in _batches(parts, lambda part: len(part.payload)):

        def work(connection: Connection, limits: Limits, some: Sequence[Part] = some) -> list[bool]:
            fitting = [_fitting_part(part, limits) for part in some]
            return chords.join(connection, database.tables, fitting, time.time())

        told += database.write(work)
    return told


def _store_surely(database: Database, record: Record) -> None:
    try:
        _store(database, [record])
    except Refused:
        try:
            _store(database, [record], spare_row)
        except Refused as error:
            _store(database, [refused_record(record, str(error))], spare_row)


def _store(database: Database, records: Sequence[Record], change: Callable[[Row], Row] = lambda row: row) -> None:
    def work(connection: Connection, limits: Limits) -> None:
        now = time.time()
        rows = [change(task_row(_fitting(record, limits), now, limits)) for record in records]
        results.store(connection, database.tables, rows, now)
        doorbell.ring(connection, [row["task_id"] for row in rows])

    database.write(work)


def _fitting(record: Record, limits: Limits) -> Record:
    limit, size = limits.document_bytes, len(record.payload)
    return record if limit is None or size <= limit else refused_record(record, too_large(size, limit))


def _fitting_part(part: Part, limits: Limits) -> Part:
    limit, size = limits.document_bytes, len(part.payload)
    return part if limit is None or size <= limit else refused_part(part, too_large(size, limit))


def _batches(items: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    batch: list[T] = []
    size = 0
    for item in items:
        if batch and (len(batch) >= _AT_ONCE or size + size_of(item) > _BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += size_of(item)
    if batch:
        yield batch
