"""One run of a task's function, and how it ended: the named steps between decoded arguments and an `Outcome`.

Executors and eager mode share it.  Nothing here knows of brokers, results or processes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback as traceback_module
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from celeriac.client.context import Request, current_request
from celeriac.client.task import Task
from celeriac.core import states
from celeriac.core.outcome import Failed, Ignored, Outcome, Rejected, RetryAsked, Succeeded
from celeriac.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

logger = logging.getLogger("celeriac.task")

AnyTask = Task[Any, Any]

NO_LIMIT: Final = nullcontext()


def execute(
    task: AnyTask,
    request: Request,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    limit: AbstractContextManager[object] = NO_LIMIT,
) -> Outcome:
    """Run a synchronous task here, its function inside `limit`, and return how it ended; never raises for what it does."""
    token = current_request.set(request)
    try:
        task.before_start(request.id, args, kwargs)
        with limit:
            value = task.run(*args, **kwargs)
            if inspect.isawaitable(value):
                value = asyncio.run(_awaited(value))
        outcome: Outcome = Succeeded(value)
    except BaseException as exc:  # a task may raise anything; also SystemExit must end the task, not its executor
        outcome = outcome_of(task, exc)
    try:
        _call_handlers(task, request, args, kwargs, outcome)
    finally:
        current_request.reset(token)
    return outcome


async def execute_async(
    task: AnyTask, request: Request, args: tuple[Any, ...], kwargs: dict[str, Any], soft_limit_s: float | None
) -> Outcome:
    """Run a coroutine task in the running loop; its soft limit (seconds) is raised inside it at its next `await`."""
    token = current_request.set(request)
    try:
        task.before_start(request.id, args, kwargs)
        run = task.run(*args, **kwargs)
        if inspect.iscoroutine(run):
            value = await (_within(run, soft_limit_s) if soft_limit_s else run)
        else:  # a synchronous task on a worker that has coroutines only
            value = run
        outcome: Outcome = Succeeded(value)
    except BaseException as exc:  # as above; a CancelledError of the task's own making is a failure like any other
        outcome = outcome_of(task, exc)
    try:
        _call_handlers(task, request, args, kwargs, outcome)
    finally:
        current_request.reset(token)
    return outcome


def outcome_of(task: AnyTask, exc: BaseException) -> Outcome:
    """Classify what came out of a task's function."""
    match exc:
        case Retry():
            cause = exc.__cause__ or exc.__context__
            why = exc.exc if isinstance(exc.exc, BaseException) else cause or exc
            return RetryAsked(
                why,
                _text_of(exc),
                not_before=exc.when_s,
                max_retries=exc.max_retries,
                args=exc.args_override,
                kwargs=exc.kwargs_override,
                options=exc.options,
            )
        case Ignore():
            return Ignored()
        case Reject():
            return Rejected(f"rejected by the task: {exc.reason}", bool(exc.requeue))
    if isinstance(exc, tuple(task.autoretry_for)) and not isinstance(exc, tuple(task.dont_autoretry_for)):
        return RetryAsked(exc, _text_of(exc), automatic=True)
    return Failed(exc, _text_of(exc))


def _text_of(exc: BaseException) -> str:
    """Return the traceback without the frame of ours on top."""
    frames = exc.__traceback__
    if frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    return "".join(traceback_module.format_exception(type(exc), exc, frames))


async def _awaited(value: Any) -> Any:
    return await value


def _call_handlers(
    task: AnyTask, request: Request, args: tuple[Any, ...], kwargs: dict[str, Any], outcome: Outcome
) -> None:
    """Call the handlers that the task's class overrides; what they raise is logged and changes nothing."""
    try:
        match outcome:
            case Succeeded():
                task.on_success(outcome.value, request.id, args, kwargs)
                task.after_return(states.SUCCESS, outcome.value, request.id, args, kwargs, None)
            case Failed():
                task.on_failure(outcome.exc, request.id, args, kwargs, outcome.traceback)
                task.after_return(states.FAILURE, outcome.exc, request.id, args, kwargs, outcome.traceback)
            case RetryAsked():
                task.on_retry(outcome.exc, request.id, args, kwargs, outcome.traceback)
                task.after_return(states.RETRY, outcome.exc, request.id, args, kwargs, outcome.traceback)
    except BaseException:  # also sys.exit() and a cancellation: the job has ended, and must be reported so
        logger.exception("a handler of task %s[%s] raised", task.name, request.id)


# -- the soft limit of coroutines -------------------------------------------------------------------------------------


async def _within(run: Coroutine[Any, Any, Any], limit_s: float) -> Any:
    """Await `run`; after `limit_s` seconds `SoftTimeLimitExceeded` is raised inside it, where it can be caught."""
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    assert this is not None
    guarded = _Interruptible(run)

    def expire() -> None:
        guarded.interrupt = lambda: SoftTimeLimitExceeded(limit_s)
        this.cancel()

    timer = loop.call_later(limit_s, expire)
    try:
        return await guarded
    finally:
        timer.cancel()


class _Interruptible:
    """Drives a coroutine and turns one cancellation into an exception of our choice, raised at its current `await`."""

    def __init__(self, run: Coroutine[Any, Any, Any]) -> None:
        self._run = run
        self.interrupt: Callable[[], BaseException] | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self._run.send(None)  # noqa: E731 - rebound below
        while True:
            try:
                waited_for = step()
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield waited_for
            except asyncio.CancelledError as cancelled:
                thrown: BaseException = cancelled
                if self.interrupt is not None:
                    thrown, self.interrupt = self.interrupt(), None
                    this = asyncio.current_task()
                    if this is not None:
                        this.uncancel()
                step = _bind(self._run.throw, thrown)
            except BaseException as raised:
                step = _bind(self._run.throw, raised)
            else:
                step = _bind(self._run.send, sent)


def _bind(call: Callable[[Any], Any], value: Any) -> Callable[[], Any]:
    return lambda: call(value)
