"""The tasks of an app, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from celeriac.client.options import nearest
from celeriac.client.task import Task
from celeriac.exceptions import AlreadyRegistered, NotRegistered

AnyTask = Task[Any, Any]


class TaskRegistry(Mapping[str, AnyTask]):
    """`app.tasks`: a mapping of names to tasks; a name that is missing raises `NotRegistered` with the nearest one.

    The tasks that every app has, as `celery.map`, are found by their names, but are not among those that it lists.
    """

    def __init__(self, find_builtin: Callable[[str], AnyTask | None] = lambda _name: None) -> None:
        self._tasks: dict[str, AnyTask] = {}
        self._find_builtin = find_builtin
        self._builtins: dict[str, AnyTask | None] = {}

    def register(self, task: AnyTask) -> None:
        """Add a task.

        The same function once more (a module imported again, a notebook's cell run again) replaces what was there; another
        one raises `AlreadyRegistered`.
        """
        known = self._tasks.get(task.name)
        if known is not None and _origin(known) != _origin(task):
            raise AlreadyRegistered(
                f"two tasks ask for the name {task.name!r}: {_place(known)} and {_place(task)}; give one of them another name=..."
            )
        self._tasks[task.name] = task

    def unregister(self, name: str) -> None:
        """Forget a task; raises `NotRegistered`."""
        del self._tasks[self[name].name]

    def __getitem__(self, name: str) -> AnyTask:
        task: AnyTask | None = self.get(name)
        if task is None:
            hint = f"import the module that defines it{nearest(name, self._tasks)}"
            raise NotRegistered(name, hint)
        return task

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks or (isinstance(name, str) and self._builtin(name) is not None)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the task of this name, else `default`."""
        return self._tasks.get(name) or self._builtin(name) or default

    def _builtin(self, name: str) -> AnyTask | None:
        if not name.startswith("celery."):
            return None
        if name not in self._builtins:
            self._builtins[name] = self._find_builtin(name)
        return self._builtins[name]


def _origin(task: AnyTask) -> tuple[str, str]:
    if hasattr(task, "__wrapped__"):
        return task.__module__, task.__qualname__
    return type(task).__module__, type(task).__qualname__


def _place(task: AnyTask) -> str:
    function = inspect.unwrap(getattr(task, "__wrapped__", task.run))
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ".".join(_origin(task))
