"""The tables: two that are Celery's, with three columns of ours, and two of our own for chords.

| table | what it holds |
|---|---|
| `celery_taskmeta` | one row for each task that has a state |
| `celery_tasksetmeta` | one row for each saved group |
| `celeriac_chord` | one row for each chord: its size, how many parts are in, who finishes it |
| `celeriac_chord_part` | one row for each part that is in, and for each member that was added later |

Ours in Celery's tables: `celeriac_document` (what Celery's columns cannot say of the document, see `rows`), `celeriac_expires_at` and
`celeriac_stored_at` (Unix seconds). Celery leaves them alone.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from celeriac.core.settings import Settings
from celeriac.exceptions import ImproperlyConfigured

KEY_MAX: Final = 155
"""Characters of an id, and of a name: Celery's."""
STATUS_MAX: Final = 50

_NAMES: Final = {
    "task": "celery_taskmeta",
    "group": "celery_tasksetmeta",
    "chord": "celeriac_chord",
    "part": "celeriac_chord_part",
}


class Tables(Struct, frozen=True):
    """The four tables."""

    metadata: MetaData
    """For a migration tool, such as Alembic."""
    tasks: Table
    groups: Table
    chords: Table
    parts: Table


def make_tables(settings: Settings) -> Tables:
    """Describe the tables, under the names and schemas of the settings.

    Raises `ImproperlyConfigured` for settings that name a table that is none of them.
    """
    names = {**_NAMES, **_checked("database_table_names", settings.database_table_names)}
    schemas = _checked("database_table_schemas", settings.database_table_schemas)
    own = schemas.get("task")  # where nothing is said: beside the results
    metadata = MetaData()
    return Tables(
        metadata,
        _tasks(metadata, names["task"], schemas.get("task")),
        _groups(metadata, names["group"], schemas.get("group")),
        _chords(metadata, names["chord"], schemas.get("chord", own)),
        _parts(metadata, names["part"], schemas.get("part", schemas.get("chord", own))),
    )


def _checked(setting: str, given: dict[str, str] | None) -> dict[str, str]:
    for key in given or {}:
        if key not in _NAMES:
            raise ImproperlyConfigured(f"{setting}: there is no table {key!r}; known are {', '.join(_NAMES)}")
    return given or {}


def _tasks(metadata: MetaData, name: str, schema: str | None) -> Table:
    return Table(
        name,
        metadata,
        _number("task_id_sequence", schema),
        Column("task_id", _foreign_key_text(), unique=True),
        Column("status", String(STATUS_MAX)),
        Column("result", _bytes()),
        Column("date_done", DateTime, nullable=True),
        Column("traceback", _text(), nullable=True),
        Column("children", _bytes(), nullable=True),
        Column("name", String(KEY_MAX), nullable=True),
        Column("args", _bytes(), nullable=True),
        Column("kwargs", _bytes(), nullable=True),
        Column("worker", String(KEY_MAX), nullable=True),
        Column("retries", Integer, nullable=True),
        Column("queue", String(KEY_MAX), nullable=True),
        Column("stamps", _bytes(), nullable=True),
        *_own_columns(),
        *_indexes(name),
        schema=schema,
    )


def _groups(metadata: MetaData, name: str, schema: str | None) -> Table:
    return Table(
        name,
        metadata,
        _number("taskset_id_sequence", schema),
        Column("taskset_id", _foreign_key_text(), unique=True),
        Column("result", _bytes()),
        Column("date_done", DateTime, nullable=True),
        *_own_columns(),
        *_indexes(name),
        schema=schema,
    )


def _chords(metadata: MetaData, name: str, schema: str | None) -> Table:
    return Table(
        name,
        metadata,
        Column("group_id", _key(), primary_key=True),
        Column("size", Integer, nullable=True),
        Column("added", Integer, nullable=False),
        Column("ended", Integer, nullable=False),
        Column("finisher", _key(), nullable=True),
        Column("closed", SmallInteger, nullable=False),
        Column("updated_at", Double, nullable=False),
        Column("kept_s", Double, nullable=True),
        Column("expires_at", Double, nullable=True),
        Column("body", _bytes(), nullable=False),
        Index(_index_name(name, "open"), "closed", "updated_at"),
        Index(_index_name(name, "expires_at"), "expires_at"),
        schema=schema,
    )


def _parts(metadata: MetaData, name: str, schema: str | None) -> Table:
    return Table(
        name,
        metadata,
        Column("group_id", _key(), primary_key=True),
        Column("place", Integer, primary_key=True, autoincrement=False),
        Column("member_id", _key(), primary_key=True),
        Column("number", Integer, nullable=False),  # the order of those that have no place
        Column("payload", _bytes(), nullable=False),
        schema=schema,
    )


def _number(sequence: str, schema: str | None) -> Column[Any]:
    # Celery's is of 32 bits, which a busy system uses up.  SQLite knows one kind of self-numbering column only.
    return Column(
        "id", BigInteger().with_variant(Integer, "sqlite"), Sequence(sequence, schema=schema), primary_key=True
    )


def _own_columns() -> list[Column[Any]]:
    return [
        Column("celeriac_document", _bytes(), nullable=True),
        Column("celeriac_expires_at", Double, nullable=True),
        Column("celeriac_stored_at", Double, nullable=True),
    ]


def _indexes(table: str) -> list[Index]:
    return [
        Index(f"ix_{table}_date_done", "date_done"),
        Index(_index_name(table, "celeriac_expires_at"), "celeriac_expires_at"),
    ]


def _index_name(table: str, column: str) -> str:
    return f"ix_{table[:30]}_{column}"


# MySQL and MariaDB take little where nothing else is said: 64 kB for bytes and texts, and ids that differ in case are one.


def _bytes() -> TypeEngine[bytes]:
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def _text() -> TypeEngine[str]:
    return Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")


def _foreign_key_text() -> TypeEngine[str]:
    exact = mysql.VARCHAR(KEY_MAX, charset="utf8mb4", collation="utf8mb4_bin")
    return String(KEY_MAX).with_variant(exact, "mysql", "mariadb")


def _key() -> TypeEngine[str]:
    """An id of ours, which is always ASCII."""
    exact = mysql.VARCHAR(KEY_MAX, charset="ascii", collation="ascii_bin")
    return String(KEY_MAX).with_variant(exact, "mysql", "mariadb")
