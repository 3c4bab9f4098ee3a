"""What came before a result: a parent that fails, forgetting, revoking."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.exceptions import (
    TaskRevokedError,
    TimeoutError,
)
from tests.client.groups import group_of, nested, while_waiting
from tests.client.recording import RecordingBackend, RecordingBroker
from tests.client.test_results import eventually


def test_a_parent_that_fails_is_what_a_result_failed_of(app: Celeriac, backend: RecordingBackend) -> None:
    first = app.AsyncResult("first")
    last = app.AsyncResult("last", parent=app.AsyncResult("middle", parent=first))
    backend.put("last", "FAILURE", RuntimeError("as the middle"))
    backend.put("middle", "FAILURE", RuntimeError("as the first"))
    backend.put("first", "FAILURE", ValueError("the reason"))
    with pytest.raises(ValueError, match="the reason") as caught:
        last.get(timeout=30)
    assert "task first" in caught.value.__notes__[-1]
    with pytest.raises(RuntimeError, match="as the middle"):
        last.get(follow_parents=False)
    assert isinstance(last.get(propagate=False), RuntimeError)

    async def main() -> None:
        again = app.AsyncResult("last", parent=app.AsyncResult("middle", parent=app.AsyncResult("first")))
        with pytest.raises(ValueError, match="the reason"):
            await again.aget(timeout=30)

    asyncio.run(main())


def test_a_parent_that_fails_ends_the_waiting(app: Celeriac, backend: RecordingBackend) -> None:
    """A worker of another kind may leave what comes after a failed task without a record."""
    waiting: list[Any] = [
        app.AsyncResult("body", parent=group_of(app, "a", "b")),
        group_of(app, "x", "y", group_id="after", parent=group_of(app, "a", "b")),
        app.GroupResult("outer", [app.AsyncResult("z"), group_of(app, "x", parent=group_of(app, "a", "b"))]),
    ]
    for result in waiting:
        backend.documents.clear()
        thread = while_waiting(backend, {"b"}, lambda: backend.put("b", "FAILURE", ValueError("no")))
        with pytest.raises(ValueError, match="no"):
            result.get(timeout=30)
        thread.join()
        eventually(lambda: not backend.listeners[0].watched)


def test_what_succeeded_is_returned_whatever_its_parents_did(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("a", "FAILURE", ValueError("no"))
    backend.put("body", "SUCCESS", 1)
    header = group_of(app, "a")
    for failure_is_known in (False, True):
        if failure_is_known:
            assert header.failed()
        assert app.AsyncResult("body", parent=header).get() == 1
        assert asyncio.run(app.AsyncResult("body", parent=header).aget()) == 1
        assert group_of(app, "body", parent=header).get() == [1]
        assert list(group_of(app, "body", parent=header).iterate()) == [1]
        assert asyncio.run(group_of(app, "body", parent=header).aget()) == [1]
    with pytest.raises(ValueError, match="no"):
        app.AsyncResult("nobody", parent=header).get()


def test_a_header_that_may_fail_does_not_end_the_waiting(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("a", "FAILURE", ValueError("no"))
    header = group_of(app, "a", "b", min_successes=1)
    body = app.AsyncResult("body", parent=header)
    with pytest.raises(TimeoutError):
        body.get(timeout=0.01)
    assert body.as_tuple() == (("body", None), None), "who reads it could not know that the header may fail"
    assert pickle.loads(pickle.dumps(body)).parent.min_successes == 1
    backend.put("body", "FAILURE", RuntimeError("too few"))
    with pytest.raises(RuntimeError, match="too few"):
        body.get(timeout=30)


def test_forgetting(app: Celeriac, backend: RecordingBackend) -> None:
    for one in ("first", "a", "b", "body", "g1", "other"):
        backend.put(one, "SUCCESS", 1)
    body = app.AsyncResult("body", parent=group_of(app, "a", "b", parent=app.AsyncResult("first")))
    assert body.get() == 1
    body.forget()
    assert sorted(backend.documents) == ["g1", "other"]
    assert body.state == "PENDING"
    group = app.GroupResult("g", [app.AsyncResult("g1")], parent=app.AsyncResult("other"))
    assert group.ready()
    group.forget()
    assert sorted(backend.documents) == ["other"]
    assert not group.ready()


def test_revoking(app: Celeriac, broker: RecordingBroker, backend: RecordingBackend) -> None:
    nested(app).revoke(terminate=True, signal="SIGKILL")
    assert [(one.id, one.terminate, one.signal) for one in broker.revocations] == [
        (one, True, "SIGKILL") for one in ("d", "a", "b")
    ]
    assert broker.admins_closed == 1, "one connection for all"
    thread = while_waiting(backend, {"a"}, lambda: backend.put("a", "REVOKED", TaskRevokedError("revoked")))
    group_of(app, "a").terminate(wait=True, timeout=30)
    thread.join()
    assert backend.documents
    group_of(app, "x").revoke(wait=True, timeout=0.01)
