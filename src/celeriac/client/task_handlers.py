"""What a task class of one's own may override: handlers called around each run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.client import left_out
from celeriac.exceptions import InvalidTaskError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.exception_info import ExceptionInfo


HANDLERS: Final = ("before_start", "on_success", "on_failure", "on_retry", "after_return", "shadow_name", "on_bound")


def check_handlers(kind: type[TaskHandlers]) -> None:
    """Raise `InvalidTaskError` for a handler that is a coroutine, because nobody would await it."""
    for name in HANDLERS:
        if inspect.iscoroutinefunction(getattr(kind, name)):
            raise InvalidTaskError(f"task class {kind.__qualname__}: {name}() is called, not awaited; it is async")


class TaskHandlers:
    """The handlers, doing nothing.  They are called in the process that ran the task, or that concludes its end."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property that raised AttributeError itself: that error is to be seen
                return object.__getattribute__(self, name)
            raise left_out.explain(f"task {type(self).name or type(self).__name__!r}", name, left_out.OF_TASKS)

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Called before the task runs; what it raises fails the task."""

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Called when the task has returned."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: ExceptionInfo
    ) -> None:
        """Called when the task has failed for good, be it by its own error, by its hard time limit or by a crash."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: ExceptionInfo
    ) -> None:
        """Called when the task is to be retried."""

    def after_return(
        self,
        status: str,
        retval: Any,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        einfo: ExceptionInfo | None,
    ) -> None:
        """Called after each run, with its state and its value or exception."""

    def shadow_name(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> str | None:
        """Return a name for logs and monitors in place of the task's own; None leaves it. Called at each call, so be quick."""
        return None

    @classmethod
    def on_bound(cls, app: Celeriac) -> None:
        """Called when a task of this class is given to an app."""
