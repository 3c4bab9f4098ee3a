"""Tasks that look whether they should stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.contrib.abortable import ABORTED, AbortableAsyncResult, AbortableTask
from celeriac.core import states
from celeriac.exceptions import ImproperlyConfigured


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("abortable", broker="memory://", backend="memory://") as app:
        yield app


def test_abort_is_a_state_that_the_task_sees(app: Celeriac) -> None:
    @app.task(bind=True, base=AbortableTask)
    def export(self: Any) -> None: ...

    task: Any = export  # a type checker does not learn the base from the decorator
    result = task.AsyncResult(export.delay().id)
    assert isinstance(result, AbortableAsyncResult)
    assert not result.is_aborted()
    assert not task.is_aborted(task_id=result.id)
    result.abort()
    assert result.is_aborted()
    assert result.state == ABORTED
    assert task.is_aborted(task_id=result.id)


def test_a_state_that_the_task_was_just_storing_does_not_undo_the_wish(app: Celeriac) -> None:
    result: AbortableAsyncResult[int] = AbortableAsyncResult("busy", app=app)
    result.abort()
    app.sender.store_state("busy", "PROGRESS", None)
    assert (result.state, result.is_aborted()) == ("PROGRESS", True)
    app.sender.store_state("busy", states.FAILURE, {"exc_type": "ValueError", "exc_message": []})
    assert not result.is_aborted()


def test_what_has_ended_stays_as_it_is(app: Celeriac) -> None:
    app.sender.store_state("done", states.SUCCESS, 42)
    result: AbortableAsyncResult[int] = AbortableAsyncResult("done", app=app)
    result.abort()
    assert (result.state, result.get(timeout=10)) == (states.SUCCESS, 42)


def test_a_function_called_directly_is_not_aborted(app: Celeriac) -> None:
    @app.task(bind=True, base=AbortableTask)
    def export(self: Any) -> bool:
        aborted: bool = self.is_aborted()
        return aborted

    assert export() is False


def test_without_kept_states_abort_says_so() -> None:
    with (
        Celeriac("abortable", broker="memory://", backend="disabled://") as app,
        pytest.raises(ImproperlyConfigured, match="revoke"),
    ):
        AbortableAsyncResult("x", app=app).abort()
