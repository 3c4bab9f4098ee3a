"""`self.retry(...)`: what the next run is to be like, worked out and checked in the running task."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.call_checks import check_call_options
from celeriac.client.options import CALL_OPTIONS, nearest
from celeriac.client.redaction import as_shown
from celeriac.core.retry import may_retry
from celeriac.exceptions import MaxRetriesExceededError, Retry

if TYPE_CHECKING:
    from celeriac.client.context import Request
    from celeriac.client.task import Task

OWN: Final = frozenset(
    {"task_id", "retries", "countdown", "eta", "root_id", "parent_id", "chain", "chord", "stamped_headers"}
)
"""Options of a call that a retry does not take, because they make it the same call."""
RETRY_OPTIONS: Final = tuple(option for option in CALL_OPTIONS if option not in OWN)

_BY_NAME: Final = inspect.Parameter.POSITIONAL_OR_KEYWORD
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, _BY_NAME)


def ask_for_retry(
    task: Task[Any, Any],
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    exc: BaseException | None,
    eta: datetime | None,
    countdown: float | None,
    max_retries: int | None,
    options: Mapping[str, Any],
) -> Retry:
    """Return the retry that a running task asks for; raises as `Task.retry` does."""
    request = task.request
    if request.called_directly:
        # There is nobody to run it again.
        raise exc or sys.exc_info()[1] or Retry(f"{task.name} was called directly and can't be retried")
    limit = task.policy.max_retries if max_retries is None else max_retries
    if not may_retry(limit, request.retries):
        if exc is not None:
            raise exc
        shown_args, shown_kwargs = as_shown(task, request.args, request.kwargs)
        raise MaxRetriesExceededError(
            f"Can't retry {task.name}[{request.id}] args:{shown_args} kwargs:{shown_kwargs}:"
            f" it has used its {limit} retries",
            task_args=request.args,
            task_kwargs=request.kwargs,
        )
    _check_options(task, options)
    new_args, new_kwargs = _merge_arguments(task, request, args, kwargs)
    asked = Retry(exc=exc, when=eta if eta is not None else countdown)
    if eta is not None:
        asked.when_s = (eta if eta.tzinfo else eta.replace(tzinfo=UTC)).timestamp()
    elif countdown is not None:
        asked.when_s = task.app.time_source.time() + countdown
    asked.args_override, asked.kwargs_override = new_args, new_kwargs
    asked.max_retries = max_retries
    asked.options = dict(options)
    return asked


def _check_options(task: Task[Any, Any], options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in RETRY_OPTIONS:
            raise TypeError(f"task {task.name!r}: retry() takes no option {name!r}{nearest(name, RETRY_OPTIONS)}")
    check_call_options(task.name, options)
    if isinstance(queue := options.get("queue"), int | float | bytes):
        raise TypeError(f"task {task.name!r}: retry(queue={queue!r}): the name of a queue, or a Queue, is wanted")


def _merge_arguments(
    task: Task[Any, Any], request: Request, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...] | None, dict[str, Any] | None]:
    """Return the arguments of the next run, None for those that stay.

    Where only one kind is given, what it names is taken out of the other, so that no parameter gets two values.
    """
    if args is not None and kwargs is None and request.kwargs:
        parameters = task.binder.signature.parameters.values()
        taken = [each for each in parameters if each.kind in _POSITIONAL][: len(args)]
        names = {each.name for each in taken if each.kind is _BY_NAME}
        return tuple(args), {name: value for name, value in request.kwargs.items() if name not in names}
    if kwargs is not None and args is None and request.args:
        bound = task.binder.signature.bind_partial(*request.args)
        rest = dict(kwargs)
        for name in kwargs:
            if name in bound.arguments and task.binder.signature.parameters[name].kind is _BY_NAME:
                bound.arguments[name] = rest.pop(name)
        return bound.args, {**bound.kwargs, **rest}
    return None if args is None else tuple(args), None if kwargs is None else dict(kwargs)
