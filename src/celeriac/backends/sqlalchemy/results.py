"""Statements on the tables of results and groups. Each function is a part of the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, delete, insert, or_, select, update
from sqlalchemy.engine import Row as DatabaseRow

from celeriac.backends.sqlalchemy.rows import Row
from celeriac.backends.sqlalchemy.tables import Tables
from celeriac.core.states import SUCCESS

T = TypeVar("T")

IDS_PER_STATEMENT: Final = 500
EXPIRED_PER_SWEEP: Final = 1000


class Stand(NamedTuple):
    """What tells one state of a task from the next, whoever wrote them."""

    status: str | None
    date_done: datetime | None
    stored_at: float | None


def store(connection: Connection, tables: Tables, rows: Sequence[Row], now: float) -> None:
    """Store the rows in their order, but overwrite no success that is still kept."""
    _put(connection, tables.tasks, "task_id", _last_of_each(rows), now)


def store_group(connection: Connection, tables: Tables, row: Row, now: float) -> None:
    """Store a group in place of what is there."""
    _put(connection, tables.groups, "taskset_id", [row], now)


def fetch(connection: Connection, tables: Tables, keys: Collection[str], now: float) -> list[DatabaseRow[Any]]:
    """Return the rows of these tasks, as far as they are there."""
    return _fetch(connection, tables.tasks, "task_id", keys, now)


def fetch_group(connection: Connection, tables: Tables, key: str, now: float) -> DatabaseRow[Any] | None:
    """Return the row of a group, None where there is none."""
    return next(iter(_fetch(connection, tables.groups, "taskset_id", [key], now)), None)


def stands(connection: Connection, tables: Tables, keys: Collection[str], now: float) -> dict[str, Stand]:
    """Return how these tasks stand, without their results."""
    table = tables.tasks
    found: dict[str, Stand] = {}
    for some in chunks(keys):
        query = select(table.c.task_id, table.c.status, table.c.date_done, table.c.celeriac_stored_at).where(
            table.c.task_id.in_(some), _kept(table, now)
        )
        found |= {key: Stand(*rest) for key, *rest in connection.execute(query)}
    return found


def forget(connection: Connection, table: Table, keys: Iterable[str]) -> None:
    """Delete results, or groups."""
    column = table.c.task_id if "task_id" in table.c else table.c.taskset_id
    for some in chunks(keys):
        connection.execute(delete(table).where(column.in_(some)))


def expire(connection: Connection, table: Table, now: float, result_expires_s: float | None) -> bool:
    """Delete what is over, so much at a time that nobody has to wait for it; return whether there may be more.

    What Celery has stored goes when it is `result_expires_s` old, as Celery's own housekeeping has it.
    """
    over = table.c.celeriac_expires_at <= now
    deleted = _delete_some(connection, table, over)
    if result_expires_s:
        before = datetime.fromtimestamp(now - result_expires_s, UTC).replace(tzinfo=None)
        theirs = and_(table.c.date_done < before, table.c.celeriac_stored_at.is_(None))
        deleted = max(deleted, _delete_some(connection, table, theirs))
    return deleted >= EXPIRED_PER_SWEEP


def chunks(items: Iterable[T], size: int = IDS_PER_STATEMENT) -> Iterator[list[T]]:
    """Yield the items in lists of at most `size`, as databases limit the parameters of a statement."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _put(connection: Connection, table: Table, key: str, rows: Sequence[Row], now: float) -> None:
    """Insert rows, or update those that are there; in the order of their keys, so that two who do it wait for each other at most once.

    Whoever inserts the same key at once makes one of both fail: that one has to do it again.
    """
    new: list[Row] = []
    changed: list[Row] = []
    for some in chunks(sorted(rows, key=lambda row: str(row[key]))):
        known = _lock(connection, table, key, [row[key] for row in some])
        for row in some:
            # Where a table of Celery's on MySQL takes ids that differ in case for one, they are one.
            there = known.get(row[key]) or known.get(row[key].casefold())
            if there is None:
                new.append(row)
            elif not (_is_success(there) and (there.celeriac_expires_at is None or there.celeriac_expires_at > now)):
                changed.append({**row, "b_id": there.id})
    if changed:
        values: dict[str, Any] = {name: bindparam(name) for name in changed[0] if name != "b_id"}
        connection.execute(update(table).where(table.c.id == bindparam("b_id")).values(values), changed)
    if new:
        connection.execute(insert(table), new)


def _lock(connection: Connection, table: Table, key: str, keys: list[str]) -> dict[str, DatabaseRow[Any]]:
    column = table.c[key]
    state = [table.c.status] if "status" in table.c else []
    query = select(table.c.id, column, table.c.celeriac_expires_at, *state).where(column.in_(keys)).with_for_update()
    found: dict[str, DatabaseRow[Any]] = {}
    for row in connection.execute(query):
        written = row._mapping[column]
        found[written] = row
        if written not in keys:
            found.setdefault(written.casefold(), row)
    return found


def _is_success(row: DatabaseRow[Any]) -> bool:
    return getattr(row, "status", None) == SUCCESS


def _last_of_each(rows: Iterable[Row]) -> list[Row]:
    """Return one row for each task: the last state, or the first success."""
    last: dict[str, Row] = {}
    for row in rows:
        if row["task_id"] not in last or last[row["task_id"]]["status"] != SUCCESS:
            last[row["task_id"]] = row
    return list(last.values())


def _fetch(connection: Connection, table: Table, key: str, keys: Collection[str], now: float) -> list[DatabaseRow[Any]]:
    found: list[DatabaseRow[Any]] = []
    for some in chunks(keys):
        found += connection.execute(select(table).where(table.c[key].in_(some), _kept(table, now)))
    return found


def _kept(table: Table, now: float) -> ColumnElement[bool]:
    return or_(table.c.celeriac_expires_at.is_(None), table.c.celeriac_expires_at > now)


def _delete_some(connection: Connection, table: Table, over: ColumnElement[bool]) -> int:
    ids = (
        connection.execute(select(table.c.id).where(over).order_by(table.c.id).limit(EXPIRED_PER_SWEEP)).scalars().all()
    )
    if ids:
        # Asked again, because one of them may have been stored anew meanwhile.
        connection.execute(delete(table).where(table.c.id.in_(ids), over))
    return len(ids)
