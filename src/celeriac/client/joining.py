"""Where results may be waited for: not inside a task, where waiting can block every worker.

A task that waits for another one holds a slot; when all slots are held that way, nothing moves any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from celeriac.client.context import running_request

_said: Final = ContextVar[bool | None]("celeriac_join_denied", default=None)
"""True: denied here; False: allowed here; None: it depends on whether a task runs here."""

CURE: Final = (
    "Have what comes next called with the value instead: a chain (first.s() | then.s()), a chord(group, body) for many values,"
    " link=, or a task that puts the workflow in its own place (raise self.replace(workflow)). If you are sure that it can't"
    " block: `with allow_join_result():`, or get(disable_sync_subtasks=False)"
)


def task_join_will_block() -> bool:
    """Tell whether waiting for a result is refused here."""
    said = _said.get()
    if said is not None:
        return said
    running = running_request()
    return running is not None and not running.is_eager


def assert_will_not_block() -> None:
    """Raise `RuntimeError` where waiting for a result is refused."""
    if not task_join_will_block():
        return
    running = running_request()
    where = f"task {running.task}[{running.id}]" if running is not None else "a caller inside denied_join_result()"
    raise RuntimeError(
        f"{where} waits for the result of another task: when all slots are taken by tasks that wait, nothing moves any"
        f" more. {CURE}"
    )


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Allow waiting for results in a `with` block inside a task; for this thread, or this coroutine."""
    token = _said.set(False)
    try:
        yield
    finally:
        _said.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Refuse waiting for results in a `with` block, inside a task or not; for this thread, or this coroutine."""
    token = _said.set(True)
    try:
        yield
    finally:
        _said.reset(token)
