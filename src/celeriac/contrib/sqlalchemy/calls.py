"""The calls that wait for a transaction, with the session as their first argument."""

from __future__ import annotations

from typing import ParamSpec, TypeVar

from celeriac.client.result import AsyncResult
from celeriac.client.task import Task
from celeriac.contrib.sqlalchemy.sessions import AnySession

P = ParamSpec("P")
R = TypeVar("R")


def delay_on_commit(session: AnySession, task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
    """Send a call once the session's transaction is committed; as `task.apply_async_on_commit(..., using=session)`."""
    return task.apply_async_on_commit(args, kwargs, using=session)


def delay_via_outbox(session: AnySession, task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
    """Write a call into the session's transaction; as `task.apply_async_via_outbox(..., using=session)`."""
    return task.apply_async_via_outbox(args, kwargs, using=session)
