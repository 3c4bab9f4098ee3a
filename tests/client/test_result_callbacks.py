"""`then`: callbacks that are called when results are there."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.exceptions import (
    BackendUnavailable,
)
from tests.client.groups import group_of
from tests.client.recording import RecordingBackend
from tests.client.test_results import eventually


def test_callbacks_are_called_when_all_have_ended(app: Celeriac, backend: RecordingBackend) -> None:
    seen: list[Any] = []
    result, group = app.AsyncResult("a"), group_of(app, "a", "b")
    result.then(lambda ended: seen.append((ended, threading.current_thread().name)))
    group.then(lambda ended: seen.append((ended, threading.current_thread().name)))
    eventually(lambda: backend.listeners and {"a", "b"} == backend.listeners[0].watched)
    backend.put("a", "FAILURE", ValueError("no"))
    eventually(lambda: seen)
    assert seen == [(result, "celeriac-result-callbacks")]
    assert seen[0][0].get(propagate=False).args == ("no",)
    backend.put("b", "SUCCESS", 1)
    eventually(lambda: len(seen) == 2)
    assert seen[1] == (group, "celeriac-result-callbacks")
    result.then(seen.append)
    eventually(lambda: len(seen) == 3)


def test_a_callback_may_wait_and_may_fail(
    app: Celeriac, backend: RecordingBackend, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    def wait_for_b(_ended: Any) -> None:
        seen.append(app.AsyncResult("b").get(timeout=30))

    def fail(_ended: Any) -> None:
        raise KeyError("callback")

    backend.put("a", "SUCCESS", 1)
    result = app.AsyncResult("a")
    assert result.ready()
    result.then(wait_for_b)
    result.then(fail, on_error=seen.append)
    result.then(fail, on_error=fail)
    result.then(fail)
    result.then(lambda _ended: seen.append("last"))
    eventually(lambda: backend.listeners and "b" in backend.listeners[0].watched)
    backend.put("b", "SUCCESS", 2)
    eventually(lambda: len(seen) == 3)
    assert (seen[0], repr(seen[1]), seen[2]) == (2, "KeyError('callback')", "last")
    assert sum("failed" in record.getMessage() for record in caplog.records) == 2
    assert all(record.levelname == "ERROR" for record in caplog.records)


def test_a_callback_that_will_never_be_called(
    app: Celeriac, backend: RecordingBackend, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    group_of(app, "a", "b").then(seen.append, on_error=seen.append)
    app.AsyncResult("a").then(seen.append)
    app.close()
    eventually(lambda: seen and caplog.records)
    assert [type(one) for one in seen] == [BackendUnavailable]
    assert "was not called" in caplog.text
