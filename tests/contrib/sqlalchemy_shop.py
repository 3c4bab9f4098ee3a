"""The program that the tests of the SQLAlchemy integration run: told by the environment where its database is."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from sqlalchemy import create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.pool import NullPool

from celeriac import Celeriac
from celeriac.contrib.sqlalchemy import SqlAlchemyTask, current_session, outbox_table, use_sqlalchemy
from celeriac.exceptions import Reject
from tests.e2e.app import SETTINGS_VARIABLE

DATABASE_VARIABLE = "SHOP_DATABASE"
PREFIX_VARIABLE = "SHOP_PREFIX"
"""Of the names of tables, because a PostgreSQL is shared."""

prefix = os.environ.get(PREFIX_VARIABLE, f"celeriac_sa_{os.getpid()}_")


class Base(DeclarativeBase):
    pass


class Entry(Base):
    __tablename__ = f"{prefix}entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


outbox = outbox_table(Base.metadata, f"{prefix}outbox")


class Shop:
    """The program's app with its tasks, and its database."""

    def __init__(self, database: str, **settings: Any) -> None:
        self.engine = create_engine(database)
        self.sessions = sessionmaker(self.engine)
        # No pool: each event loop needs connections of its own.
        self.async_engine = create_async_engine(database.replace("sqlite:", "sqlite+aiosqlite:"), poolclass=NullPool)
        self.async_sessions = async_sessionmaker(self.async_engine, expire_on_commit=False)
        self.app = Celeriac("shop", set_as_current=False, **settings)
        use_sqlalchemy(self.app, self.sessions, make_async_session=self.async_sessions, outbox=outbox)
        self._define()

    def texts(self) -> list[str]:
        """What was committed."""
        with self.sessions() as session:
            return list(session.scalars(select(Entry.text).order_by(Entry.id)))

    def close(self) -> None:
        self.app.close()
        self.engine.dispose()

    def _define(self) -> None:
        app = self.app

        @app.task(ignore_result=True, atomic=True)
        def note(text: str) -> None:
            current_session().add(Entry(text=text))

        @app.task(base=SqlAlchemyTask, bind=True, max_retries=1, time_limit=60)
        def book(self: SqlAlchemyTask[Any, Any], how: str) -> str:
            session: Session = self.session
            session.add(Entry(text=f"{how} {self.request.retries}"))
            session.flush()
            note.delay_on_commit(f"{how} {self.request.retries} on commit")
            note.delay_via_outbox(f"{how} {self.request.retries} via outbox")
            match how:
                case "fail":
                    raise ValueError(how)
                case "reject":
                    raise Reject(how)
                case "slow":
                    time.sleep(30)
                case "retry" if not self.request.retries:
                    raise self.retry(countdown=0.01)
            return how

        @app.task(base=SqlAlchemyTask, bind=True)
        async def book_async(self: SqlAlchemyTask[Any, Any], how: str) -> str:
            session: AsyncSession = self.session
            session.add(Entry(text=how))
            await session.flush()
            note.delay_on_commit(f"{how} on commit")
            note.delay_via_outbox(f"{how} via outbox")
            if how == "async fail":
                raise ValueError(how)
            return how

        self.note, self.book, self.book_async = note, book, book_async


if DATABASE_VARIABLE in os.environ:
    shop = Shop(os.environ[DATABASE_VARIABLE], **json.loads(os.environ.get(SETTINGS_VARIABLE, "{}")))
    app = shop.app
