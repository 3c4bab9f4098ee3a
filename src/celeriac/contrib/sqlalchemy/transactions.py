"""SQLAlchemy's transactions, for atomic tasks and for calls that wait for a commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from celeriac.contrib.sqlalchemy.hooks import CommitHooks
from celeriac.contrib.sqlalchemy.sessions import find_current_session, resolve, synchronous, use_session
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.task import Task

MakeSession = Callable[[], Session]
MakeAsyncSession = Callable[[], AsyncSession]


class SqlAlchemyTransactions:
    """Sessions for tasks, and hooks on anybody's sessions.

    make_session: a `sessionmaker` or `scoped_session`; for tasks that are no coroutines.
    make_async_session: an `async_sessionmaker` or `async_scoped_session`; for coroutines.
    """

    def __init__(self, make_session: MakeSession | None, make_async_session: MakeAsyncSession | None = None) -> None:
        self._make_session = make_session
        self._make_async_session = make_async_session

    def check(self, task: Task[Any, Any]) -> None:
        """Raise `ImproperlyConfigured` when there is no kind of session for a task, or `atomic` names a database."""
        if task.atomic is not True:
            raise ImproperlyConfigured(
                f"task {task.name!r}: atomic={task.atomic!r}: with SQLAlchemy it is True; a session's `binds` say which"
                " database is meant"
            )
        if task.executor == "async" and self._make_async_session is None:
            raise ImproperlyConfigured(
                f"task {task.name!r} is an `async def` and atomic: give use_sqlalchemy() an async_sessionmaker too"
                " (make_async_session=...)"
            )
        if task.executor != "async" and self._make_session is None:
            raise ImproperlyConfigured(
                f"task {task.name!r} is no coroutine and atomic: give use_sqlalchemy() a sessionmaker too (make_session=...)"
            )

    def atomic(self, task: Task[Any, Any]) -> AbstractContextManager[object]:
        """Return the transaction around one run: a session of its own, which is `current_session()` meanwhile.

        In eager mode within another atomic task it is a savepoint of that one's.
        """
        outer = find_current_session()
        if task.request.is_eager and isinstance(outer, Session):
            return outer.begin_nested()
        self.check(task)
        assert self._make_session is not None
        return _transaction(self._make_session)

    def aatomic(self, task: Task[Any, Any]) -> AbstractAsyncContextManager[object]:
        """As `atomic`, with an `AsyncSession`."""
        outer = find_current_session()
        if task.request.is_eager and isinstance(outer, AsyncSession):
            return outer.begin_nested()
        self.check(task)
        assert self._make_async_session is not None
        return _async_transaction(self._make_async_session)

    def on_commit(self, function: Callable[[], object], using: Any) -> None:
        """Call `function` once the session's transaction is committed: the one that is open, else its next one.

        What it raises comes out of the commit, which has happened.  Raises `ImproperlyConfigured` when no session is known.
        """
        default: Any = self._make_session or self._make_async_session
        session = resolve(using, default, "after a commit")
        plain = synchronous(session)
        hook = function
        if isinstance(session, AsyncSession):
            # A commit of this session runs in a greenlet that may wait, so that the event loop goes on meanwhile.
            def hook() -> object:
                return await_only(asyncio.to_thread(function))

        CommitHooks.of(plain).add(plain, hook)


@contextmanager
def _transaction(make_session: MakeSession) -> Iterator[Session]:
    session = make_session()
    try:
        with use_session(session), session.begin():
            yield session
    finally:
        session.close()


@asynccontextmanager
async def _async_transaction(make_session: MakeAsyncSession) -> AsyncIterator[AsyncSession]:
    session = make_session()
    try:
        with use_session(session):
            async with session.begin():
                yield session
    finally:
        await session.close()
