"""The tasks of the canvases: functions that are registered with either library under the same names, and note what they do."""

from __future__ import annotations

import os
import random
import time
from typing import Any

from celeriac.torture import journal
from tests.canvas.trees import RETRIES, Does

JOURNAL_VARIABLE = "CANVAS_JOURNAL"
"""File that tasks write to: what stands there has happened, whatever the broker says."""
NAP_VARIABLE = "CANVAS_NAP_S"
"""The longest that a task takes its time."""
QUEUE_VARIABLE = "CANVAS_QUEUE"
"""The app's default queue."""
SETTINGS_VARIABLE = "CANVAS_SETTINGS"
"""Settings of our app as JSON."""

ERRBACK = "errback"
"""The journal's word for the call of one."""


class OutOfStock(Exception):
    """An error of the program's own."""

    def __init__(self, article: str, left: int) -> None:
        super().__init__(article, left)


def failure(key: str) -> ValueError:
    return ValueError(f"{key} is no good")


def value(does: str, key: str, args: list[Any]) -> Any:
    """Return what a task answers: something that tells what it was given, and in which order."""
    match does:
        case Does.NONE:
            return None
        case Does.DICT:
            return {"key": key, "args": args}
        case _:
            return [key, *args]


def item_value(key: str, number: int) -> str:
    return f"{key}/{number}"


# -- tasks ------------------------------------------------------------------------------------------------------------


def _note(event: str, key: str, **more: Any) -> None:
    journal.record(os.environ[JOURNAL_VARIABLE], event, key, **more)


def _nap() -> None:
    longest_s = float(os.environ.get(NAP_VARIABLE, "0"))
    if longest_s:
        time.sleep(random.uniform(0, longest_s))


def act(self: Any, exceptions: Any, args: tuple[Any, ...], key: str, does: str, by: Any = None) -> Any:
    """A task of a canvas; `exceptions`: the module with those of the library that runs it; `by`: what replaces it."""
    request = self.request
    redelivered = bool((request.delivery_info or {}).get("redelivered"))
    _note(journal.START, key, id=request.id, args=args, redelivered=redelivered, worker=request.hostname)
    _nap()
    _note(journal.END, key)
    match does:
        case Does.FAIL:
            raise failure(key)
        case Does.FAIL_OWN:
            raise OutOfStock(key, 0)
        case Does.IGNORE:
            raise exceptions.Ignore
        case Does.REJECT:
            raise exceptions.Reject("not here")
        case Does.REPLACE:
            raise self.replace(self.app.signature(by))
        case Does.RETRY if request.retries < RETRIES:
            raise self.retry(countdown=0.01)
        case _:
            return value(does, key, list(args))


def item(key: str, number: int) -> str:
    """One of those that `starmap` and `chunks` run."""
    _note(journal.START, f"{key}/{number}", id=None, args=[number])
    _note(journal.END, f"{key}/{number}")
    return item_value(key, number)


def pair(key_and_number: tuple[str, int]) -> str:
    """One of those that `map` runs."""
    return item(*key_and_number)


def errback(task_id: str, *, key: str) -> None:
    """An errback that is sent as a task, with the one thing that such a one gets."""
    _note(ERRBACK, key, failed=task_id)


def errback_in_place(request: Any, exc: Any, traceback: Any, *, key: str) -> None:
    """An errback that is called where the task failed."""
    _note(ERRBACK, key, failed=request.id, error=repr(exc))


def register(app: Any, exceptions: Any, **in_thread: Any) -> None:
    """Make them tasks of an app; `exceptions`: the module with the library's; `in_thread`: options of those that run in threads."""

    def acts(self: Any, *args: Any, **kwargs: Any) -> Any:
        return act(self, exceptions, args, **kwargs)

    quietly = {"bind": True, "throws": (ValueError, OutOfStock)}  # nobody need see the tracebacks of these in a log
    app.task(name="canvas.act", **quietly)(acts)
    app.task(name="canvas.act_in_thread", **quietly, **in_thread)(acts)
    for function in (item, pair, errback, errback_in_place):
        app.task(name=f"canvas.{function.__name__}")(function)
