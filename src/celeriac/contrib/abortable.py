"""Tasks that look now and then whether they should stop, and end by themselves: Celery's `contrib.abortable`.

    @app.task(bind=True, base=AbortableTask)
    def export(self):
        for row in rows():
            if self.is_aborted():
                return "stopped half way"
            ...

    AbortableAsyncResult(result.id, app=app).abort()

The wish is a state of the task (`ABORTED`) in the result backend, which therefore has to keep states that clients store.  It is
also kept beside the task's own state, which the task may be just about to overwrite by another.
"""

from __future__ import annotations

from typing import Any, Final, ParamSpec, TypeVar

from celeriac.client.result import AsyncResult
from celeriac.client.task import Task
from celeriac.core import states
from celeriac.exceptions import ImproperlyConfigured

__all__ = ["ABORTED", "AbortableAsyncResult", "AbortableTask"]

P = ParamSpec("P")
R = TypeVar("R")

ABORTED: Final = "ABORTED"
"""State of a task that is to stop as soon as it looks."""


def _wish_id(task_id: str) -> str:
    """Return the id under which the wish is kept beside the task's state."""
    return f"{task_id}-abort"


class AbortableAsyncResult(AsyncResult[R]):
    """The result of a task that can be told to stop."""

    def is_aborted(self) -> bool:
        """Tell whether the task was told to stop and has not ended since. Asks the backend; blocking."""
        state = self.state
        if state in states.READY_STATES:
            return False
        return ABORTED in (state, self.app.AsyncResult(_wish_id(self.id)).state)

    def abort(self) -> None:
        """Tell the task to stop; it does so when it looks the next time, or not at all.

        One that has ended stays as it is.  Idempotent, blocking.  Raises `ImproperlyConfigured` when no state is kept,
        `BackendUnavailable`.
        """
        if not self.app.backend.stores or self.app.reply_to is not None:
            raise ImproperlyConfigured(
                f"task {self.id} cannot be aborted: that takes a result backend which keeps states, such as Redis;"
                " use revoke(terminate=True) instead"
            )
        if self.state not in states.READY_STATES:
            for task_id in (_wish_id(self.id), self.id):
                self.app.sender.store_state(task_id, ABORTED, None)


class AbortableTask(Task[P, R]):
    """Base of tasks that can be told to stop."""

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AbortableAsyncResult[R]:  # noqa: N802 - Celery's name
        """Return the result of a call by its id."""
        return AbortableAsyncResult(task_id, app=self.app, **kwargs)

    def update_state(self, task_id: str | None = None, state: str | None = None, meta: Any = None) -> None:
        """Store a state as other tasks do, unless the task was told to stop: it would not see that any more. Blocking."""
        request, app = self.request, self.app
        keeps_states = app.backend.stores and app.reply_to is None and not request.is_eager
        if not (keeps_states and self.is_aborted(task_id=task_id or request.id)):
            super().update_state(task_id, state, meta)

    def is_aborted(self, **kwargs: Any) -> bool:
        """Tell whether the running task, or the one with the id `task_id`, was told to stop.

        Asks the backend each time, so look often enough to stop soon, and not oftener.  Blocking.
        """
        task_id = kwargs.get("task_id", self.request.id)
        return bool(task_id) and self.AsyncResult(task_id).is_aborted()
