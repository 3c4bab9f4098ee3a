"""The tasks by Celery's names that every worker knows, because workflows consist of them.

They are found by their names, and are not among those that `app.tasks` lists.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.canvas.chunking import CHUNKS, MAP, STARMAP
from celeriac.client.canvas.nodes import ACCUMULATE
from celeriac.client.task import Task

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

AnyTask = Task[Any, Any]
UNLOCK: Final = "celery.chord_unlock"
Signature = Mapping[str, Any]


def builtin_task(app: Celeriac, name: str) -> AnyTask | None:
    """Return the app's own copy of a task that every worker knows; None for all other names."""
    found = _FUNCTIONS.get(name)
    if found is None:
        return None
    task: AnyTask = Task()
    task.define(app, name, {"validate": False, **_OPTIONS.get(name, {})}, found, bind=True)
    return task


def map_items(self: AnyTask, task: Signature, it: Sequence[Any]) -> Any:
    """Call a task with each item, one after the other, and return the list of its values."""
    return _call_each(self.app.tasks[task["task"]], [(item,) for item in it])


def map_arguments(self: AnyTask, task: Signature, it: Sequence[Sequence[Any]]) -> Any:
    """Call a task with each list of arguments, one after the other, and return the list of its values."""
    return _call_each(self.app.tasks[task["task"]], it)


def send_chunks(self: AnyTask, task: Signature, it: Sequence[Any], n: int) -> Any:
    """Have the group of the chunks' tasks give the value in place of this one: the list of their lists."""
    from celeriac.client.canvas.maps import chunks

    return self.replace(chunks(task, it, n, app=self.app).group())


def accumulate(self: AnyTask, *args: Any, **kwargs: Any) -> Any:
    """Return the arguments, or one of them if `index` says which."""
    index = kwargs.get("index")
    return args[index] if index is not None else args


def unlock_chord(self: AnyTask, *args: Any, **kwargs: Any) -> None:
    """Join a chord of a sender of Celery whose backend can't count."""
    from celeriac.client import unlocking  # it imports what sends tasks

    unlocking.unlock_chord(self, *args, **kwargs)


_OPTIONS: Final[dict[str, dict[str, Any]]] = {UNLOCK: {"max_retries": None, "ignore_result": True}}

_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    MAP: map_items,
    STARMAP: map_arguments,
    CHUNKS: send_chunks,
    ACCUMULATE: accumulate,
    UNLOCK: unlock_chord,
}


def _call_each(task: AnyTask, calls: Sequence[Sequence[Any]]) -> Any:
    if task.executor != "async":
        return [task(*args) for args in calls]
    import asyncio  # which most programs do not need

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_await_each(task, calls))
    return _await_each(task, calls)  # the executor awaits it


def _await_each(task: AnyTask, calls: Sequence[Sequence[Any]]) -> Coroutine[Any, Any, list[Any]]:
    async def each() -> list[Any]:
        return [await task(*args) for args in calls]

    return each()
