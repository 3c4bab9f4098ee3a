"""One run of a task's function, and how it ended: the named steps between decoded arguments and an `Outcome`.

Executors and eager mode share it.  Nothing here knows of brokers, results or processes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import traceback as traceback_module
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final

from celeriac.client import signals, wrapping
from celeriac.client.context import Request, current_request
from celeriac.client.exception_info import ExceptionInfo
from celeriac.client.replacing import Replaced
from celeriac.client.task import Task
from celeriac.client.transactions import arun_atomically, run_atomically
from celeriac.core import states
from celeriac.core.decide import end_of_retries
from celeriac.core.outcome import Failed, Ignored, Outcome, Rejected, ReplacedBy, RetryAsked, Revoked, Succeeded
from celeriac.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded, Terminated

logger = logging.getLogger("celeriac.task")

AnyTask = Task[Any, Any]

NO_LIMIT: Final = nullcontext()


def _as_it_is(outcome: Outcome) -> Outcome:
    return outcome


def execute(
    task: AnyTask,
    request: Request,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    limit: AbstractContextManager[object] = NO_LIMIT,
    work_out: Callable[[Outcome], Outcome] = _as_it_is,
) -> Outcome:
    """Run a synchronous task here, its function inside `limit`, and return how it ended; never raises for what it does.

    `work_out` gets the outcome before handlers and listeners do, and returns what they are told: a result that can't be
    written has failed.
    """
    if wrapping.runs.all:
        run = partial(_execute, task, request, args, kwargs, limit, work_out)
        return wrapping.runs.wrap(task, request, args, kwargs, run)
    return _execute(task, request, args, kwargs, limit, work_out)


def _execute(
    task: AnyTask,
    request: Request,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    limit: AbstractContextManager[object],
    work_out: Callable[[Outcome], Outcome],
) -> Outcome:
    token = current_request.set(request)
    started = time.perf_counter()
    try:
        _announce_start(task, request, args, kwargs)
        if task.atomic:
            value = run_atomically(task, limit, lambda: _call(task, args, kwargs))
        else:
            with limit:
                value = _call(task, args, kwargs)
        if task.conversion is not None:
            value = task.conversion.dump_result(value)
        outcome: Outcome = Succeeded(value)
    except BaseException as exc:  # a task may raise anything; also SystemExit must end the task, not its executor
        outcome = outcome_of(task, request, exc)
    try:
        outcome = work_out(outcome)
        announce_end(task, request, args, kwargs, outcome, time.perf_counter() - started)
    finally:
        current_request.reset(token)
    return outcome


async def execute_async(
    task: AnyTask,
    request: Request,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    soft_limit_s: float | None,
    work_out: Callable[[Outcome], Outcome] = _as_it_is,
) -> Outcome:
    """Run a coroutine task in the running loop; its soft limit (seconds) is raised inside it at its next `await`."""
    token = current_request.set(request)
    started = time.perf_counter()
    try:
        _announce_start(task, request, args, kwargs)
        run = task.entry(*args, **kwargs)
        if inspect.iscoroutine(run):
            limited = _within(run, soft_limit_s) if soft_limit_s else _interruptibly(run)
            value = await (arun_atomically(task, limited) if task.atomic else limited)
        else:  # a synchronous task on a worker that has coroutines only
            value = run
        if task.conversion is not None:
            value = task.conversion.dump_result(value)
        outcome: Outcome = Succeeded(value)
    except BaseException as exc:  # as above; a CancelledError of the task's own making is a failure like any other
        this = asyncio.current_task()
        cancelled = isinstance(exc, asyncio.CancelledError) and this is not None and this.cancelling() > 0
        outcome = Revoked("terminated") if cancelled else outcome_of(task, request, exc)
    try:
        outcome = work_out(outcome)
        announce_end(task, request, args, kwargs, outcome, time.perf_counter() - started)
    finally:
        current_request.reset(token)
    return outcome


def outcome_of(task: AnyTask, request: Request, exc: BaseException) -> Outcome:
    """Classify what came out of a task's function; a retry that it has no more of is a failure."""
    outcome = _classified(task, exc)
    if isinstance(outcome, RetryAsked):
        return end_of_retries(task.policy, request.id, request.retries, outcome) or outcome
    return outcome


def _classified(task: AnyTask, exc: BaseException) -> Outcome:
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
        case Replaced():
            return ReplacedBy(exc.signature)
        case Ignore():
            return Ignored()
        case Terminated():
            return Revoked("terminated")
        case Reject():
            return Rejected(exc, _text_of(exc), bool(exc.requeue))
    if isinstance(exc, tuple(task.autoretry_for)) and not isinstance(exc, tuple(task.dont_autoretry_for)):
        return RetryAsked(exc, _text_of(exc), automatic=True)
    return Failed(exc, _text_of(exc))


def _text_of(exc: BaseException) -> str:
    """Return the traceback without the frames of this file on top."""
    frames = exc.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback_module.format_exception(type(exc), exc, frames))


def _call(task: AnyTask, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    value = task.entry(*args, **kwargs)
    return asyncio.run(_awaited(value)) if value is not None and inspect.isawaitable(value) else value


async def _awaited(value: Any) -> Any:
    return await value


def _announce_start(task: AnyTask, request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if signals.task_prerun.receivers:
        signals.task_prerun.send(task, task_id=request.id, task=task, args=args, kwargs=kwargs)
    if task.handles_start:
        task.before_start(request.id, args, kwargs)


def announce_end(
    task: AnyTask,
    request: Request,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    outcome: Outcome,
    runtime_s: float,
) -> None:
    """Call the handlers that the task's class overrides, and send Celery's signals, in Celery's order.

    What one of them raises is logged, changes nothing and keeps none of the others from being called; in eager mode it goes on
    to the caller.
    """
    match outcome:
        case Succeeded():
            state, value = states.SUCCESS, outcome.value
            if task.handles_success:
                _tell(task, request, task.on_success, value, request.id, args, kwargs)
            if signals.task_success.receivers:
                _tell(task, request, signals.task_success.send, task, result=value, runtime=runtime_s)
            if task.handles_success:
                _tell(task, request, task.after_return, state, value, request.id, args, kwargs, None)
        case Failed():
            state, value = states.FAILURE, outcome.exc
            announce_failure(task, request, args, kwargs, outcome.exc, outcome.traceback)
        case RetryAsked():
            state, value = states.RETRY, outcome.exc
            announce_retry(task, request, args, kwargs, outcome)
        case Rejected():
            state, value = states.REJECTED, None
        case Revoked():
            state, value = states.REVOKED, None
        case _:
            state, value = states.IGNORED, None
    if signals.task_postrun.receivers:
        said = {"task_id": request.id, "task": task, "args": args, "kwargs": kwargs, "retval": value, "state": state}
        _tell(task, request, signals.task_postrun.send, task, **said)


def announce_retry(
    task: AnyTask, request: Request, args: tuple[Any, ...], kwargs: dict[str, Any], asked: RetryAsked
) -> None:
    """Tell the task's handlers and whoever listens that it will run again."""
    info = ExceptionInfo(asked.exc, asked.traceback)
    _tell(task, request, task.on_retry, asked.exc, request.id, args, kwargs, info)
    if signals.task_retry.receivers:
        _tell(task, request, signals.task_retry.send, task, request=request, reason=asked.exc, einfo=info)
    _tell(task, request, task.after_return, states.RETRY, asked.exc, request.id, args, kwargs, info)


def announce_failure(
    task: AnyTask,
    request: Request,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    exc: BaseException,
    traceback: str | None,
) -> None:
    """Tell the task's handlers and whoever listens that it has failed for good."""
    info = ExceptionInfo(exc, traceback)
    _tell(task, request, task.on_failure, exc, request.id, args, kwargs, info)
    if signals.task_failure.receivers:
        _tell(
            task,
            request,
            signals.task_failure.send,
            task,
            task_id=request.id,
            exception=exc,
            args=args,
            kwargs=kwargs,
            traceback=exc.__traceback__,
            einfo=info,
        )
    _tell(task, request, task.after_return, states.FAILURE, exc, request.id, args, kwargs, info)


def _tell(task: AnyTask, request: Request, call: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
    try:
        call(*args, **kwargs)
    except BaseException:  # also sys.exit() and a cancellation: the job has ended, and must be reported so
        if request.is_eager:  # as in Celery, whoever stands by in person is told
            raise
        logger.exception("a handler of task %s[%s] raised", task.name, request.id)


# -- the soft limit of coroutines -------------------------------------------------------------------------------------


async def _within(run: Coroutine[Any, Any, Any], limit_s: float) -> Any:
    """Await `run`; after `limit_s` seconds `SoftTimeLimitExceeded` is raised inside it, where it can be caught."""
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    assert this is not None
    guarded = _Interruptible(run)

    def expire() -> None:
        guarded.interrupt = lambda: SoftCancellation(limit_s)
        this.cancel()

    timer = loop.call_later(limit_s, expire)
    try:
        return await guarded
    finally:
        timer.cancel()


async def _interruptibly(run: Coroutine[Any, Any, Any]) -> Any:
    """Await `run`, which has no limit; a cancellation that carries `SoftTimeLimitExceeded` raises that inside it."""
    return await _Interruptible(run)


class SoftCancellation(SoftTimeLimitExceeded, asyncio.CancelledError):
    """What is raised inside a coroutine: `SoftTimeLimitExceeded` for the task, and a cancellation for what it awaits.

    A TaskGroup, `wait_for` and the like end their own tasks when they are cancelled, and only then: with any other exception
    those would go on after the end of the task.  It goes by the name of the former.
    """


SoftCancellation.__name__ = SoftCancellation.__qualname__ = SoftTimeLimitExceeded.__name__
SoftCancellation.__module__ = SoftTimeLimitExceeded.__module__


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
            except SoftCancellation as soft:
                raise SoftTimeLimitExceeded(*soft.args).with_traceback(soft.__traceback__) from soft.__cause__
            try:
                sent = yield waited_for
            except asyncio.CancelledError as cancelled:
                thrown: BaseException = cancelled
                asked_for = cancelled.args[0] if cancelled.args else None
                if isinstance(asked_for, SoftTimeLimitExceeded):
                    self.interrupt = lambda soft=asked_for: SoftCancellation(*soft.args)
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
