"""`celery.app.trace`: packages that record runs (sentry-sdk) replace its `build_tracer` by one that wraps what it returns.

Each run of a synchronous task then goes through what the replacement built.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.task import Task

if TYPE_CHECKING:
    from celeriac.client.context import Request
    from celeriac.client.wrapping import Run
    from celeriac.core.outcome import Outcome

__all__ = ["build_tracer", "task_has_custom"]

Tracer = Callable[..., Any]
MODULE: Final = "celery.app.trace"


class TracedRequest(dict[str, Any]):
    """The request as tracers get it, with the run that the innermost one calls."""

    run: Run


def build_tracer(name: str, task: Task[Any, Any], *_parts: Any, **_named: Any) -> Tracer:
    """Return what runs one call of a task; called for `(id, args, kwargs, request)`."""

    def trace(_id: str, _args: Sequence[Any], _kwargs: Mapping[str, Any], request: TracedRequest) -> Outcome:
        return request.run()

    return trace


def task_has_custom(task: Task[Any, Any], name: str) -> bool:
    """Tell whether the task's class has a method of its own under this name."""
    return getattr(type(task), name, None) is not getattr(Task, name, None)


_tracers: Final[weakref.WeakKeyDictionary[Task[Any, Any], tuple[object, Tracer]]] = weakref.WeakKeyDictionary()


def run_traced(
    task: Task[Any, Any], request: Request, args: Sequence[Any], kwargs: Mapping[str, Any], run: Run
) -> Outcome:
    """Run inside of what `celery.app.trace.build_tracer` returns, where somebody has replaced that."""
    module = sys.modules.get(MODULE)
    builder = getattr(module, "build_tracer", build_tracer)
    if builder is build_tracer:
        return run()
    known, tracer = _tracers.get(task, (None, build_tracer))
    if known is not builder:
        tracer = builder(task.name, task)
        task.enter_anew()  # the builder may have replaced the task's `run`
        _tracers[task] = (builder, tracer)
    said = TracedRequest(_as_dict(request))
    said.run = run
    outcome: Outcome = tracer(request.id, list(args), dict(kwargs), said)
    return outcome


def _as_dict(request: Request) -> dict[str, Any]:
    return {
        "id": request.id,
        "task": request.task,
        "retries": request.retries,
        "hostname": request.hostname,
        "delivery_info": request.delivery_info,
        "headers": request.headers,
        "properties": request.properties,
        "is_eager": request.is_eager,
    }
