"""Errbacks of Celery's calling kind: functions that take the failed task's request, error and traceback."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.context import Request
from celeriac.core.effects import Invoke

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.task")

ID_ALONE: Final = 1
"""An errback with no more positional parameters than this gets the failed task's id, as a task of its own."""


def call_here(app: Celeriac, invoke: Invoke, request: Request, *, quiet: bool = False) -> bool:
    """Call an errback that takes more than the failed task's id, if its task is registered; False: it must be sent.

    It is called in the process in which the task failed, as Celery does; what it raises is logged.  `quiet`: only say so.
    """
    if invoke.error is None:
        return False
    signature = invoke.signature
    task = app.tasks.get(signature["task"])
    if task is None or signature.get("immutable") or not task.binder.takes_more_than(ID_ALONE):
        return False
    if quiet:
        logger.error("errback %s of task %s[%s] is not called again", task.name, request.task, request.id)
        return True
    args: list[Any] = [request, invoke.error, invoke.traceback, *(signature.get("args") or ())]
    try:
        value = task.run(*args, **(signature.get("kwargs") or {}))
        if inspect.iscoroutine(value):
            _complete(value)
    except BaseException:  # also sys.exit(): it is another task that has ended, and must be reported so
        logger.exception("errback %s of task %s[%s] raised", task.name, request.task, request.id)
    return True


def _complete(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine to its end for a caller who may stand in a running event loop himself, and who waits for it."""
    with ThreadPoolExecutor(1, "celeriac-errback") as thread:
        thread.submit(asyncio.run, coroutine).result()
