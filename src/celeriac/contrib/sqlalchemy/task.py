"""A base class for tasks that use the database."""

from __future__ import annotations

from typing import Any, ParamSpec, TypeVar

from celeriac.client.task import Task
from celeriac.contrib.sqlalchemy.sessions import current_session

P = ParamSpec("P")
R = TypeVar("R")


class SqlAlchemyTask(Task[P, R]):
    """A task that runs in one transaction, whose session is `self.session`."""

    atomic = True

    @property
    def session(self) -> Any:
        """The session of this run, an `AsyncSession` in a coroutine. Raises `RuntimeError` outside of a run."""
        return current_session()
