"""Giving an app its database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, Table
from sqlalchemy.ext.asyncio import AsyncEngine

from celeriac.contrib.outbox import Outbox
from celeriac.contrib.sqlalchemy.outbox import SqlAlchemyOutboxStore
from celeriac.contrib.sqlalchemy.transactions import MakeAsyncSession, MakeSession, SqlAlchemyTransactions
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


def use_sqlalchemy(
    app: Celeriac,
    make_session: MakeSession | None = None,
    *,
    make_async_session: MakeAsyncSession | None = None,
    outbox: Table | None = None,
) -> SqlAlchemyTransactions:
    """Let an app's tasks be atomic, and its calls wait for commits; with `outbox` they can also be rows of a transaction.

    Args:
        make_session: a `sessionmaker` or `scoped_session`.
        make_async_session: an `async_sessionmaker` or `async_scoped_session`, for coroutines.
        outbox: what `outbox_table` returned.  The relay needs `make_session`.

    Raises `ImproperlyConfigured` when that does not go together.  To be called once, where the app is made.
    """
    if make_session is None and make_async_session is None:
        raise ImproperlyConfigured("use_sqlalchemy() needs a sessionmaker, an async_sessionmaker or both")
    if outbox is not None and make_session is None:
        raise ImproperlyConfigured(
            "use_sqlalchemy(outbox=...) needs make_session too: the relay of the outbox is no coroutine"
        )
    transactions = SqlAlchemyTransactions(make_session, make_async_session)
    app.transactions = transactions
    if outbox is not None:
        app.outbox = Outbox(app, SqlAlchemyOutboxStore(outbox, make_session, make_async_session))

    def forget_connections(*_args: Any, **_kwargs: Any) -> None:
        for make in (make_session, make_async_session):
            engine = _engine_of(make)
            if engine is not None:
                engine.dispose(close=False)

    # What the parent had open stays the parent's; an executor connects anew.
    app.on_after_fork.connect(forget_connections, weak=False)
    return transactions


def _engine_of(make: Any) -> Engine | None:
    factory = getattr(make, "session_factory", make)
    bind = (getattr(factory, "kw", None) or {}).get("bind")
    if isinstance(bind, AsyncEngine):
        return bind.sync_engine
    return bind if isinstance(bind, Engine) else None
