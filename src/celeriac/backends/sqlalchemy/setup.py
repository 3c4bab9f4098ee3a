"""Making the tables, and adding to those that Celery has made what they lack."""

from __future__ import annotations

import logging
from typing import Any, Final

from sqlalchemy import Connection, Inspector, Table, func, inspect, literal, select
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateColumn, CreateIndex

from celeriac.backends.sqlalchemy.drivers import MYSQL, POSTGRESQL
from celeriac.backends.sqlalchemy.rows import NO_LIMITS, Limits
from celeriac.backends.sqlalchemy.tables import Tables

logger = logging.getLogger("celeriac.results")

ROWS_MAX: Final = 100_000
"""An index on so many is made in about a second."""

_BLOB_BYTES: Final = {mysql.TINYBLOB: 2**8 - 1, mysql.MEDIUMBLOB: 2**24 - 1, mysql.LONGBLOB: 2**32 - 1}
_SMALL_BYTES: Final = 2**16 - 1
"""Of a BLOB or TEXT."""
_PACKET_OVERHEAD_BYTES: Final = 64 * 1024


def prepare(connection: Connection, tables: Tables) -> Limits:
    """Make the tables and columns that are missing, and return what the tables can take. Idempotent.

    Two processes that do it at once may meet: whoever fails has to do it again.
    """
    inspector = inspect(connection)
    missing = [table for table in tables.metadata.sorted_tables if not inspector.has_table(table.name, table.schema)]
    if missing:
        tables.metadata.create_all(connection, tables=missing)
    for table in (tables.tasks, tables.groups):
        if table not in missing:
            _add_columns(connection, inspector, table)
    if connection.dialect.name not in MYSQL:
        return NO_LIMITS
    return _mysql_limits(connection, {column["name"]: column for column in _columns(inspect(connection), tables.tasks)})


def find_index(connection: Connection, table: Table) -> str | None:
    """See to it that housekeeping finds what has expired by an index; return None when it does.

    A table that was there before us gets the index, unless it is large and would be locked for long by that: then the statement that
    makes it is returned.
    """
    index = next(index for index in table.indexes if "celeriac_expires_at" in index.columns)
    if any(known["name"] == index.name for known in inspect(connection).get_indexes(table.name, table.schema)):
        return None
    some = select(literal(1)).select_from(table).limit(ROWS_MAX + 1).subquery()
    if connection.execute(select(func.count()).select_from(some)).scalar_one() <= ROWS_MAX:
        index.create(connection)
        return None
    statement = str(CreateIndex(index).compile(dialect=connection.dialect))
    return statement.replace("INDEX", "INDEX CONCURRENTLY", 1) if connection.dialect.name == POSTGRESQL else statement


def _add_columns(connection: Connection, inspector: Inspector, table: Table) -> None:
    known = {column["name"] for column in _columns(inspector, table)}
    for column in table.columns:
        if column.name not in known:
            where = connection.dialect.identifier_preparer.format_table(table)
            what = CreateColumn(column).compile(dialect=connection.dialect)
            logger.info("adding the column %s to the table %s", column.name, table.fullname)
            connection.exec_driver_sql(f"ALTER TABLE {where} ADD COLUMN {what}")


def _mysql_limits(connection: Connection, columns: dict[str, Any]) -> Limits:
    packet = connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one()
    value, text = columns["result"]["type"], columns["traceback"]["type"]
    return Limits(
        # Escaped in the statement, a document may be twice as long.
        document_bytes=max(0, int(packet) - _PACKET_OVERHEAD_BYTES) // 2,
        result_bytes=next((limit for kind, limit in _BLOB_BYTES.items() if isinstance(value, kind)), _SMALL_BYTES),
        text_bytes=None if isinstance(text, mysql.LONGTEXT) else _SMALL_BYTES,
        whole_seconds=getattr(columns["date_done"]["type"], "fsp", None) is None,
    )


def _columns(inspector: Inspector, table: Table) -> list[Any]:
    return list(inspector.get_columns(table.name, table.schema))
