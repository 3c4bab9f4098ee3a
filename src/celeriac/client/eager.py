"""Running a task on the spot, as a worker would: same request, same rules for retries and follow-ups, no broker."""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from celeriac.client import execution
from celeriac.client.calls import new_id
from celeriac.client.context import Request, result_tuple, running_request
from celeriac.client.errbacks import call_here
from celeriac.client.options import check_call_option_names
from celeriac.client.result import EagerResult
from celeriac.client.signature import as_signatures
from celeriac.core import states
from celeriac.core.decide import Facts, decide
from celeriac.core.effects import Again, Effects, Invoke, Record
from celeriac.core.outcome import Outcome, Succeeded
from celeriac.wire import result_meta

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task

R = TypeVar("R")
AnyTask = Any


class _Run(Struct):
    """One run that a story asks its driver for."""

    task: AnyTask
    request: Request
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Story = Generator[_Run, Outcome, EagerResult[R]]
"""A call from start to end: it asks for runs and is told how they ended, whoever drives it, with `await` or without."""


def apply_eagerly(
    task: Task[Any, R],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    throw: bool | None = None,
) -> EagerResult[R]:
    """Run a task to its end, retries included and without their pauses; then its callbacks, or its errbacks."""
    story = _tell(task, args, kwargs, options)
    try:
        run = next(story)
        while True:
            outcome = _run_async(run) if run.task.executor == "async" else _run_sync(run)
            run = story.send(outcome)
    except StopIteration as end:
        return _thrown(task, end.value, throw)


async def aapply_eagerly(
    task: Task[Any, R],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    throw: bool | None = None,
) -> EagerResult[R]:
    """As `apply_eagerly`; coroutines run in the current event loop, everything else blocks it."""
    story = _tell(task, args, kwargs, options)
    try:
        run = next(story)
        while True:
            outcome = await _start_async(run) if run.task.executor == "async" else _run_sync(run)
            run = story.send(outcome)
    except StopIteration as end:
        return _thrown(task, end.value, throw)


def _thrown(task: AnyTask, result: EagerResult[R], throw: bool | None) -> EagerResult[R]:
    if task.app.settings.task_eager_propagates if throw is None else throw:
        result.get()
    return result


def _tell(task: Task[Any, R], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Story[R]:
    check_call_option_names(task.name, options)
    task.check_arguments(args, kwargs)
    request = _make_request(task, args, kwargs, options)
    while True:
        outcome = yield _Run(task, request, tuple(request.args), dict(request.kwargs))
        _let_interrupts_through(outcome)
        effects = decide(task.policy, _facts(request), outcome, time.time(), random.random())
        if effects.again is None:
            break
        _take_over(request, effects.again)
    children = []
    for invoke in effects.invoke:
        if call_here(task.app, invoke, request):
            continue
        child = yield from _follow(task.app, invoke)
        children.append(child)
        request.children.append(result_tuple(child.id))
    return _conclude(task, request, outcome, effects, children)


def _follow(app: Celeriac, invoke: Invoke) -> Story[Any]:
    signature = invoke.signature
    args = list(signature.get("args") or ())
    if not signature.get("immutable"):
        args = [*invoke.prepend, *args]
    options = dict(signature.get("options") or {}) | {"parent_id": invoke.parent_id, "root_id": invoke.root_id}
    if invoke.chain:
        options["chain"] = invoke.chain
    return _tell(app.tasks[signature["task"]], args, signature.get("kwargs") or {}, options)


def _make_request(
    task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Request:
    get = options.get
    task_id = get("task_id") or new_id()
    running = running_request()
    return Request(
        id=task_id,
        task=task.name,
        args=args,
        kwargs=dict(kwargs),
        retries=get("retries") or 0,
        root_id=get("root_id") or (running.root_id if running is not None else None) or task_id,
        parent_id=get("parent_id") or (running.id if running is not None else None),
        correlation_id=task_id,
        hostname=task.app.origin,
        origin=task.app.origin,
        delivery_info={
            "exchange": "",
            "routing_key": get("queue") or task.defaults.route.queue,
            "priority": get("priority"),
            "redelivered": False,
            "is_eager": True,
        },
        headers=dict(get("headers") or {}),
        is_eager=True,
        called_directly=False,
        callbacks=as_signatures(get("link")) or None,
        errbacks=as_signatures(get("link_error")) or None,
        chain=as_signatures(get("chain")) or None,
        ignore_result=task.ignore_result,
    )


def _take_over(request: Request, again: Again) -> None:
    request.retries = again.retries
    if again.args is not None:
        request.args = again.args
    if again.kwargs is not None:
        request.kwargs = again.kwargs


def _facts(request: Request) -> Facts:
    return Facts(
        id=request.id,
        root_id=request.root_id or request.id,
        retries=request.retries,
        callbacks=request.callbacks or [],
        errbacks=request.errbacks or [],
        chain=request.chain or [],
    )


def _conclude(
    task: Task[Any, R], request: Request, outcome: Outcome, effects: Effects, children: list[EagerResult[Any]]
) -> EagerResult[R]:
    keep = effects.keep
    meta = result_meta.ResultMeta(
        # Nothing to keep: the task raised Ignore or Reject.
        status=keep.state if keep is not None else states.IGNORED,
        result=keep.result if keep is not None else None,
        traceback=keep.traceback if keep is not None else None,
        children=request.children,
        date_done=datetime.now(UTC).isoformat(),
        task_id=request.id,
        parent_id=request.parent_id,
        name=task.name,
        args=list(request.args),
        kwargs=request.kwargs,
        worker=request.hostname,
        retries=request.retries,
        queue=request.delivery_info["routing_key"],
    )
    settings = task.app.settings
    unwanted = task.ignore_result and isinstance(outcome, Succeeded)
    if settings.task_store_eager_result and keep is not None and not unwanted:
        payload = result_meta.encode(meta, max_bytes=settings.result_max_bytes)
        task.app._reader.store([Record(request.id, meta.status, payload, settings.result_expires)])
    return EagerResult(meta, children)


def _let_interrupts_through(outcome: Outcome) -> None:
    """A worker ends the task and goes on; in the user's own program Ctrl-C and `sys.exit()` mean the program."""
    exc = getattr(outcome, "exc", None)
    if isinstance(exc, KeyboardInterrupt | SystemExit):
        raise exc


def _run_sync(run: _Run) -> Outcome:
    return execution.execute(run.task, run.request, run.args, run.kwargs)


def _start_async(run: _Run) -> Coroutine[Any, Any, Outcome]:
    return execution.execute_async(run.task, run.request, run.args, run.kwargs, run.task.policy.soft_time_limit_s)


def _run_async(run: _Run) -> Outcome:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_start_async(run))
    return _in_own_thread(lambda: asyncio.run(_start_async(run)))


def _in_own_thread(run: Callable[[], R]) -> R:
    """Run a coroutine task for a caller who stands in a running event loop himself, and wait for it."""
    results: list[R] = []
    errors: list[BaseException] = []
    context = contextvars.copy_context()

    def body() -> None:
        try:
            results.append(context.run(run))
        except BaseException as error:  # handed over to the caller, who raises it
            errors.append(error)

    thread = threading.Thread(target=body, name="celeriac-eager")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
