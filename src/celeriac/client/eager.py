"""Running a task or a workflow on the spot, as a worker would: same message, same request, same rules for retries and follow-ups, no broker.

The message is really written and read again, so that a call that no worker would get is refused here too.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from celeriac.client import execution
from celeriac.client.canvas.plan import Plan
from celeriac.client.eager_result import EagerResult
from celeriac.client.eager_story import Run, Spot, Story, tell, tell_workflow, with_readable_result
from celeriac.client.result_base import ResultBase
from celeriac.core.outcome import Outcome

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task

R = TypeVar("R")


def apply_eagerly(
    task: Task[Any, R],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    throw: bool | None = None,
) -> EagerResult[R]:
    """Run a task to its end, retries included and without their pauses; then its callbacks, or its errbacks."""
    return _thrown(task.app, _live(tell(Spot(task.app), task, args, kwargs, options)), throw)


async def aapply_eagerly(
    task: Task[Any, R],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    throw: bool | None = None,
) -> EagerResult[R]:
    """As `apply_eagerly`; coroutines run in the current event loop, everything else blocks it."""
    return _thrown(task.app, await _alive(tell(Spot(task.app), task, args, kwargs, options)), throw)


def apply_plan_eagerly(app: Celeriac, planned: Plan, *, throw: bool | None = None) -> ResultBase[Any]:
    """Run a workflow to its end, one task after the other; its result is that of its last task, or a group's."""
    return _thrown(app, _live(tell_workflow(Spot(app), planned)), throw)


async def aapply_plan_eagerly(app: Celeriac, planned: Plan, *, throw: bool | None = None) -> ResultBase[Any]:
    """As `apply_plan_eagerly`; coroutines run in the current event loop, everything else blocks it."""
    return _thrown(app, await _alive(tell_workflow(Spot(app), planned)), throw)


AnyResult = TypeVar("AnyResult", bound=ResultBase[Any])


def _thrown(app: Celeriac, result: AnyResult, throw: bool | None) -> AnyResult:
    if app.settings.task_eager_propagates if throw is None else throw:
        result.get()
    return result


def _live(story: Story[R]) -> R:
    try:
        run = next(story)
        while True:
            outcome = _run_async(run) if run.task.executor == "async" else _run_sync(run)
            run = story.send(outcome)
    except StopIteration as end:
        result: R = end.value
        return result


async def _alive(story: Story[R]) -> R:
    try:
        run = next(story)
        while True:
            outcome = await _start_async(run) if run.task.executor == "async" else _run_sync(run)
            run = story.send(outcome)
    except StopIteration as end:
        result: R = end.value
        return result


def _run_sync(run: Run) -> Outcome:
    work_out = partial(with_readable_result, run)
    return execution.execute(run.task, run.request, run.args, run.kwargs, work_out=work_out)


def _start_async(run: Run) -> Coroutine[Any, Any, Outcome]:
    soft_limit_s, work_out = run.task.policy.soft_time_limit_s, partial(with_readable_result, run)
    return execution.execute_async(run.task, run.request, run.args, run.kwargs, soft_limit_s, work_out)


def _run_async(run: Run) -> Outcome:
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
