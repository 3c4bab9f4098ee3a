"""`shared_task`: a task that belongs to no app in particular, but to every one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal, ParamSpec, TypeVar, Unpack, overload

from celeriac.client.current import Proxy, get_current_app, share
from celeriac.client.decorators import BoundTaskDecorator, TaskDecorator
from celeriac.client.options import TaskOptions
from celeriac.client.task import AsyncTask, Task
from celeriac.exceptions import InvalidTaskError

P = ParamSpec("P")
R = TypeVar("R")


@overload
def shared_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(
    function: None = None,
    /,
    *,
    bind: Literal[True],
    name: str | None = ...,
    base: type[Task[Any, Any]] | None = ...,
    shared: bool = ...,
    lazy: bool = ...,
    **options: Unpack[TaskOptions],
) -> BoundTaskDecorator: ...
@overload
def shared_task(
    function: None = None,
    /,
    *,
    bind: Literal[False] = ...,
    name: str | None = ...,
    base: type[Task[Any, Any]] | None = ...,
    shared: bool = ...,
    lazy: bool = ...,
    **options: Unpack[TaskOptions],
) -> TaskDecorator: ...
def shared_task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a task without an app, for packages that do not know the program that uses them: `@shared_task`.

    Every app gets a task of its own, also one that is created later; what the decorator returns stands for the task of the
    current app.  Options and errors are those of `Celeriac.task`.
    """

    def make(function: Callable[..., Any]) -> Any:
        if type(function) is Proxy:
            raise InvalidTaskError(f"@shared_task was put twice on {function!r}: leave one of them out")
        share(lambda app: app.task(**options)(function))

        def here() -> Task[Any, Any]:
            app = get_current_app()
            return app.tasks[options.get("name") or app.gen_task_name(function.__name__, function.__module__)]

        return Proxy(here)

    return make if function is None else make(function)
