"""Groups of results made by hand, for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from celeriac import Celeriac
from celeriac.result import GroupResult
from tests.client.recording import RecordingBackend
from tests.client.test_results import eventually


def group_of(app: Celeriac, *ids: str, group_id: str = "g", **more: Any) -> GroupResult[Any]:
    return app.GroupResult(group_id, [app.AsyncResult(one) for one in ids], **more)


def nested(app: Celeriac) -> GroupResult[Any]:
    """Task d, group g of a and b."""
    return app.GroupResult("n", [app.AsyncResult("d"), group_of(app, "a", "b")])


def while_waiting(backend: RecordingBackend, ids: set[str], then: Callable[[], object]) -> threading.Thread:
    """Do something in another thread as soon as all these ids are watched."""

    def run() -> None:
        eventually(lambda: any(ids <= listener.watched for listener in backend.listeners))
        then()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def store_all(backend: RecordingBackend, values: Mapping[str, Any]) -> None:
    """Store successes, one after the other."""
    for one, value in values.items():
        backend.put(one, "SUCCESS", value)
