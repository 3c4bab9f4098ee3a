"""What a task works out from its options and the app's settings, once for as long as neither changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

if TYPE_CHECKING:
    from celeriac.client.task import Task

T = TypeVar("T")

_KEPT: Final = "_worked_out"


class WorkedOut(Generic[T]):
    """A property of tasks that is remembered until the app has other settings or `forget` is called."""

    def __init__(self, work_out: Callable[[Any], T]) -> None:
        """`work_out` is given the task."""
        self._work_out = work_out
        self.__doc__ = work_out.__doc__
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, task: None, owner: type) -> WorkedOut[T]: ...
    @overload
    def __get__(self, task: Task[Any, Any], owner: type) -> T: ...
    def __get__(self, task: Task[Any, Any] | None, owner: type) -> WorkedOut[T] | T:
        if task is None:
            return self
        settings, kept = task.app.settings, task.__dict__.get(_KEPT)
        if kept is None or kept[0] is not settings:
            kept = task.__dict__[_KEPT] = (settings, {})
        values: dict[str, T] = kept[1]
        try:
            return values[self._name]
        except KeyError:
            value = values[self._name] = self._work_out(task)
            return value


def forget(task: Task[Any, Any]) -> None:
    """Have everything worked out anew: an option has changed."""
    task.__dict__.pop(_KEPT, None)
