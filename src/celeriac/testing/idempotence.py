"""Does a task that runs twice do what it does once? Delivery is at least once, so every task has to."""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import pprint
import sys
from collections.abc import Callable
from difflib import unified_diff
from types import FrameType
from typing import Any, Final

from celeriac.client.calls import build_message
from celeriac.client.canvas.signature import Signature
from celeriac.client.context import Request, current_request
from celeriac.client.eager_story import open_eagerly
from celeriac.client.execution import execute, execute_async
from celeriac.client.task import Task
from celeriac.core.outcome import Failed, Outcome, RetryAsked, Succeeded

NOT_ASKED: Final = object()
CRASHES_MAX: Final = 10_000
"""A task of more executed lines than this is not crashed at each of them."""


def assert_idempotent(
    task: Task[Any, Any] | Signature,
    *args: Any,
    state: Callable[[], Any] | None = None,
    same_result: bool = True,
    **kwargs: Any,
) -> Any:
    """Run a task twice, as a worker would that got its message twice, and compare; return what the first run returned.

    Args:
        task, args, kwargs: the call. For parameters named as those below: `task.s(state=...)` and no further arguments.
        state: returns what the task changes, as values that can be compared: rows, the contents of files, a dict.
        same_result: the second run has to return what the first one did.

    Both runs have the same id, and the second one's request says `redelivered`.  Retries are not followed.  Raises
    `AssertionError` with the differences when the second run changed `state`, returned something else or raised, and whatever the
    first run raises.
    """
    task, args, kwargs = _call_of(task, args, kwargs)
    request, run_args, run_kwargs = _open(task, args, kwargs)
    first = _value(_run(task, request, run_args, run_kwargs))
    after_first = _snapshot(state)
    again, run_args, run_kwargs = _open(task, args, kwargs, request.id)
    again.delivery_info["redelivered"] = True
    outcome = _run(task, again, run_args, run_kwargs)
    what = f"{task.name}{_arguments(args, kwargs)}"
    if not isinstance(outcome, Succeeded):
        error = _error_of(outcome)
        raise AssertionError(f"{what} is not idempotent: run a second time, it raised {error!r}") from error
    _compare(what, "run a second time, it changed what it had left", after_first, _snapshot(state))
    if same_result:
        _compare(what, "run a second time, it returned something else", first, outcome.value)
    return first


def assert_survives_crash(
    task: Task[Any, Any] | Signature,
    *args: Any,
    state: Callable[[], Any],
    reset: Callable[[], Any],
    **kwargs: Any,
) -> None:
    """Break a task off before each line of its function in turn and run it again: it must always end as one whole run does.

    Args:
        task, args, kwargs: the call, as for `assert_idempotent`.
        state: returns what the task changes, as values that can be compared.
        reset: puts back what it changes, as it was before the first run.

    The break is an exception of its own class, `SimulatedCrash`, which no `except Exception` catches; a real crash does not even
    run `finally` blocks.  Handlers like `on_failure` are not called, as in a crash.  Raises `AssertionError` that names the line
    after which the second run left something else behind, or raised; and whatever the undisturbed run raises.
    """
    task, args, kwargs = _call_of(task, args, kwargs)
    reset()
    request, run_args, run_kwargs = _open(task, args, kwargs)
    _value(_run(task, request, run_args, run_kwargs))
    wanted = _snapshot(state)
    what = f"{task.name}{_arguments(args, kwargs)}"
    for line_number in range(1, CRASHES_MAX):
        reset()
        request, run_args, run_kwargs = _open(task, args, kwargs, request.id)
        crashed_at = _crash(task, request, run_args, run_kwargs, line_number)
        if crashed_at is None:
            return
        request, run_args, run_kwargs = _open(task, args, kwargs, request.id)
        request.delivery_info["redelivered"] = True
        outcome = _run(task, request, run_args, run_kwargs)
        where = f"broken off before line {crashed_at} and run again"
        if not isinstance(outcome, Succeeded):
            error = _error_of(outcome)
            raise AssertionError(f"{what} is not idempotent: {where}, it raised {error!r}") from error
        _compare(what, f"{where}, it left something else than one whole run", wanted, _snapshot(state))


class SimulatedCrash(BaseException):
    """Stands for the end of the process, in a task that `assert_survives_crash` runs."""


def _call_of(
    task: Task[Any, Any] | Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Task[Any, Any], tuple[Any, ...], dict[str, Any]]:
    """Return task, args and kwargs; a signature stands for all three."""
    if not isinstance(task, Signature):
        return task, args, kwargs
    if args or kwargs:
        raise TypeError(f"the signature {task!r} has its own arguments: give it no others")
    return task.app.tasks[task.task], tuple(task.args), dict(task.kwargs)


def _open(
    task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], task_id: str | None = None
) -> tuple[Request, tuple[Any, ...], dict[str, Any]]:
    task.check_arguments(args, kwargs)
    options = {"reply_to": "", "task_id": task_id}
    return open_eagerly(task, build_message(task.app, task.name, args, kwargs, options, task.defaults))


def _run(task: Task[Any, Any], request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome:
    if task.executor == "async":
        return asyncio.run(execute_async(task, request, args, kwargs, None))
    return execute(task, request, args, kwargs)


def _error_of(outcome: Outcome) -> BaseException | None:
    return outcome.exc if isinstance(outcome, Failed | RetryAsked) else None


def _value(outcome: Outcome) -> Any:
    if isinstance(outcome, Succeeded):
        return copy.deepcopy(outcome.value)
    raise _error_of(outcome) or AssertionError(f"the task did not end well, so nothing can be compared: {outcome}")


def _snapshot(state: Callable[[], Any] | None) -> Any:
    return NOT_ASKED if state is None else copy.deepcopy(state())


def _compare(what: str, how: str, first: Any, second: Any) -> None:
    if first == second:
        return
    lines = unified_diff(_lines(first), _lines(second), "after the first run", "after the second run", lineterm="")
    raise AssertionError(f"{what} is not idempotent: {how}:\n" + "\n".join(lines))


def _lines(value: Any) -> list[str]:
    return pprint.pformat(value, width=100).splitlines()


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return f"({', '.join([*map(repr, args), *(f'{name}={value!r}' for name, value in kwargs.items())])})"


def _crash(
    task: Task[Any, Any], request: Request, args: tuple[Any, ...], kwargs: dict[str, Any], line_number: int
) -> str | None:
    """Run the task's function up to the `line_number`-th line that it executes; return where, None when it has fewer."""
    function = inspect.unwrap(getattr(task.run, "__func__", task.run))
    code = function.__code__
    count = 0
    crashed_at: str | None = None

    def trace_lines(frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count, crashed_at
        if event == "line":
            count += 1
            if count == line_number:
                crashed_at = f"{frame.f_lineno} of {os.path.basename(code.co_filename)}"
                raise SimulatedCrash
        return trace_lines

    def trace_calls(frame: FrameType, _event: str, _arg: Any) -> Any:
        return trace_lines if frame.f_code is code else None

    before, token = sys.gettrace(), current_request.set(request)
    sys.settrace(trace_calls)
    try:
        returned = task.run(*args, **kwargs)
        if inspect.iscoroutine(returned):
            asyncio.run(returned)
    except SimulatedCrash:
        pass  # as it was to be
    finally:
        sys.settrace(before)
        current_request.reset(token)
    return crashed_at  # the task may have caught even this
