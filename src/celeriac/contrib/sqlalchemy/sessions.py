"""Which session is meant: the one that a call names, the running task's, or the thread's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from celeriac.exceptions import ImproperlyConfigured

AnySession = Session | AsyncSession

_current: ContextVar[AnySession | None] = ContextVar("celeriac_sqlalchemy_session", default=None)


def current_session() -> Any:
    """Return the session of the atomic task that runs here (an `AsyncSession` in a coroutine), or that of `use_session`.

    Raises `RuntimeError` where there is none.
    """
    session = _current.get()
    if session is None:
        raise RuntimeError(
            "there is no current session: it exists in a task with atomic=True, and under use_session(...)"
        )
    return session


def find_current_session() -> AnySession | None:
    """As `current_session`, None where there is none."""
    return _current.get()


@contextmanager
def use_session(session: AnySession) -> Iterator[AnySession]:
    """Make a session the current one for the length of a `with` block, such as that of a web request."""
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)


def resolve(using: Any, default: Any, task: str) -> AnySession:
    """Return the session that a call means: `using`, else the current one, else that of `default`, a scoped session.

    Raises `ImproperlyConfigured` when there is none.
    """
    found = using if using is not None else _current.get()
    if found is None and isinstance(default, scoped_session | async_scoped_session):
        found = default
    if isinstance(found, scoped_session | async_scoped_session):
        found = found()
    if isinstance(found, Session | AsyncSession):
        return found
    if found is None:
        raise ImproperlyConfigured(
            f"calling {task}: which transaction? Give using=session, or make the call under use_session(session) or in a task"
            " with atomic=True"
        )
    raise TypeError(f"calling {task}: using= takes a Session or AsyncSession of SQLAlchemy, not {found!r}")


def synchronous(session: AnySession) -> Session:
    """Return the session that does the work and sends the events."""
    return session.sync_session if isinstance(session, AsyncSession) else session
