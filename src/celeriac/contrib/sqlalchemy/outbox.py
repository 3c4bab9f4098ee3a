"""The outbox as a table of the program's own database."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.orm import Session, registry

from celeriac.contrib.outbox import Claim, OutboxRow, OutboxState
from celeriac.contrib.outbox_turn import RelayTurn
from celeriac.contrib.sqlalchemy.sessions import resolve, synchronous

ID_MAX_CHARACTERS: Final = 255
MESSAGE_MAX_BYTES: Final = 64 * 1024 * 1024
"""MySQL chooses the type of the column by it."""
SKIP_LOCKED: Final = frozenset({"postgresql", "mysql", "mariadb", "oracle"})


def outbox_table(metadata: MetaData, name: str = "celeriac_outbox", schema: str | None = None) -> Table:
    """Add the outbox's table to a program's metadata, so that `create_all` or Alembic makes it."""
    return Table(
        name,
        metadata,
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
        Column("task_id", String(ID_MAX_CHARACTERS), nullable=False),
        Column("task", String(ID_MAX_CHARACTERS), nullable=False),
        Column("queue", String(ID_MAX_CHARACTERS), nullable=False),
        Column("message", LargeBinary(MESSAGE_MAX_BYTES), nullable=False),
        Column("created_at", Float(53), nullable=False, doc="Unix seconds"),
        Column("problem", Text, nullable=True, doc="why it can never be published"),
        schema=schema,
        sqlite_autoincrement=True,  # an id is never used twice, so the order of ids is the order of calls
    )


class SqlAlchemyOutboxStore:
    """The outbox in one table. Thread-safe, blocking; raises what SQLAlchemy raises.

    Relays claim rows by `SELECT ... FOR UPDATE SKIP LOCKED`.  SQLite locks whole files, which would keep the program from
    writing while a broker takes its time: there a lock beside the file lets one relay work at a time.
    """

    def __init__(self, table: Table, make_session: Any, make_async_session: Any = None) -> None:
        self._table = table
        self._make_session = make_session
        self._default = make_session or make_async_session
        self._row_class = _mapped(table)
        self._turn = RelayTurn()

    def add(self, row: OutboxRow, using: Any = None) -> None:
        """Add a row to a session, which writes it with its next flush. Raises `ImproperlyConfigured` when none is known."""
        session = synchronous(resolve(using, self._default, f"task {row.task!r}"))
        # An object and no statement: that works in a coroutine too, where nothing may wait here.
        session.add(
            self._row_class(
                task_id=row.task_id, task=row.task, queue=row.queue, message=row.message, created_at=row.created_at
            )
        )

    @contextmanager
    def claim(self, limit: int) -> Iterator[Claim]:
        """Hold up to `limit` rows; see `OutboxStore.claim`."""
        table = self._table
        waiting = select(table).where(table.c.problem.is_(None)).order_by(table.c.id).limit(limit)
        with self._session() as session:
            dialect = session.get_bind(self._row_class).dialect.name
            if dialect != "sqlite":
                # The locks end with the transaction, also when this process does.
                locked = waiting.with_for_update(skip_locked=dialect in SKIP_LOCKED)
                with session.begin():
                    claim = Claim([_row(found) for found in session.execute(locked)])
                    yield claim
                    self._apply(session, claim)
                return
            with self._turn.taken(str(session.get_bind(self._row_class).engine.url.database or "")) as alone:
                claim = Claim([_row(found) for found in session.execute(waiting)] if alone else [])
                session.rollback()
                yield claim
                if claim.published or claim.parked:
                    with session.begin():
                        self._apply(session, claim)

    def state(self) -> OutboxState:
        """Count what waits."""
        table = self._table
        waits = table.c.problem.is_(None)
        with self._session() as session:
            waiting, oldest_at = session.execute(select(func.count(), func.min(table.c.created_at)).where(waits)).one()
            parked = session.execute(select(func.count()).select_from(table).where(~waits)).scalar_one()
        return OutboxState(waiting, parked, oldest_at)

    def peek(self, limit: int) -> list[OutboxRow]:
        """Return the oldest rows, with or without problem."""
        with self._session() as session:
            return [
                _row(found) for found in session.execute(select(self._table).order_by(self._table.c.id).limit(limit))
            ]

    def retry(self, task_ids: Collection[str] = ()) -> int:
        """Take the problem from the rows of these tasks, from all rows if none is named; return how many."""
        change = update(self._table).where(self._table.c.problem.is_not(None)).values(problem=None)
        return self._change(change, task_ids, everything=not task_ids)

    def purge(self, task_ids: Collection[str] = (), *, everything: bool = False) -> int:
        """Delete the rows of these tasks, or all; return how many."""
        return self._change(delete(self._table), task_ids, everything=everything)

    def close(self) -> None:
        """Do nothing: each step gives its connection back to the engine's pool, which drops those that broke."""

    def _change(self, change: Any, task_ids: Collection[str], *, everything: bool) -> int:
        if not everything:
            change = change.where(self._table.c.task_id.in_(task_ids))
        with self._session() as session, session.begin():
            changed: Any = session.execute(change)
            count: int = changed.rowcount
            return count

    def _apply(self, session: Session, claim: Claim) -> None:
        table = self._table
        if claim.published:
            session.execute(delete(table).where(table.c.id.in_(claim.published)))
        for row_id, problem in claim.parked.items():
            session.execute(update(table).where(table.c.id == row_id).values(problem=problem))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """Open a session of the relay's own, also where the program shares one among everything in a thread."""
        make = getattr(self._make_session, "session_factory", self._make_session)
        session: Session = make()
        try:
            yield session
        finally:
            session.close()


def _mapped(table: Table) -> Any:
    """Return a class whose objects are rows of the table; a registry of its own keeps it out of the program's."""

    class OutboxMessage:
        def __init__(self, **values: Any) -> None:
            for name, value in values.items():
                setattr(self, name, value)

    registry(metadata=table.metadata).map_imperatively(OutboxMessage, table)
    return OutboxMessage


def _row(found: Any) -> OutboxRow:
    return OutboxRow(
        task_id=found.task_id,
        task=found.task,
        queue=found.queue,
        message=bytes(found.message),
        created_at=found.created_at,
        id=found.id,
        problem=found.problem,
    )
