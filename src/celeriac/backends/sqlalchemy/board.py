"""A board in a database: for schedules that a program or a person edits with SQL's guarantees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from celeriac.backends.sqlalchemy.drivers import database_url
from celeriac.core.boards import Move
from celeriac.core.urls import mask
from celeriac.exceptions import CoordinationUnavailable

_TABLES: Final = MetaData()
# Bytes, and a digest as the key: databases differ in which texts they take for equal.
_BOARDS: Final = Table(
    "celeriac_boards",
    _TABLES,
    Column("key", String(64), primary_key=True),
    Column("board", String(200), nullable=False, index=True),
    Column("field", LargeBinary, nullable=False),
    Column("text", LargeBinary, nullable=False),
)


class SqlBoard:
    """Keeps a board in the table `celeriac_boards`, which it makes. Thread-safe, blocking; see `Board`."""

    def __init__(self, url: str, name: str) -> None:
        """`url` is that of a database backend, `db+postgresql://...`. Raises `ImproperlyConfigured`."""
        self._url = url
        self._name = name
        self._database_url = database_url(url)
        self._engine: Engine | None = None

    def read(self, timeout_s: float) -> Mapping[str, str]:
        """See `Board.read`; how long it takes is the driver's affair."""
        try:
            with self._ready().connect() as connection:
                rows = connection.execute(
                    select(_BOARDS.c.field, _BOARDS.c.text).where(_BOARDS.c.board == self._name)
                ).all()
        except SQLAlchemyError as error:
            raise self._away(error) from error
        return {bytes(field).decode(): bytes(text).decode() for field, text in rows}

    def write(self, moves: Sequence[Move], timeout_s: float) -> list[bool]:
        """See `Board.write`; each move is a transaction."""
        try:
            return [self._move(self._ready(), move) for move in moves]
        except SQLAlchemyError as error:
            raise self._away(error) from error

    def close(self) -> None:
        """Close the connections; idempotent."""
        if self._engine is not None:
            self._engine.dispose()

    def _move(self, engine: Engine, move: Move) -> bool:
        try:
            with engine.begin() as connection:
                return self._moved(connection, move)
        except IntegrityError:
            return False  # somebody else has just written there

    def _moved(self, connection: Connection, move: Move) -> bool:
        key = sha256(f"{self._name}\0{move.field}".encode()).hexdigest()
        if move.before is None:
            known = connection.execute(select(_BOARDS.c.key).where(_BOARDS.c.key == key)).first() is not None
            if not known and move.after is not None:
                row = {"field": move.field.encode(), "text": move.after.encode()}
                connection.execute(_BOARDS.insert().values(key=key, board=self._name, **row))
            return not known
        here = (_BOARDS.c.key == key) & (_BOARDS.c.text == move.before.encode())
        if move.after is None:
            done = connection.execute(delete(_BOARDS).where(here))
        else:
            done = connection.execute(update(_BOARDS).where(here).values(text=move.after.encode()))
        return done.rowcount == 1

    def _ready(self) -> Engine:
        if self._engine is None:
            engine = create_engine(self._database_url, pool_pre_ping=True)
            try:
                _TABLES.create_all(engine)
            except SQLAlchemyError:
                # Another process may have made the table between our look and our making it: then this finds it.
                _TABLES.create_all(engine)
            self._engine = engine
        return self._engine

    def _away(self, error: SQLAlchemyError) -> CoordinationUnavailable:
        text = str(getattr(error, "orig", None) or error)
        return CoordinationUnavailable(f"the schedule's database {mask(self._url)} cannot be used: {mask(text)}")
