"""Protocol 1: what older producers send becomes a protocol 2 message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celeriac.core.headers import read_headers
from celeriac.core.message import Message
from celeriac.exceptions import BadMessage, ContentDisallowed, DecodeError
from celeriac.wire import redis_envelope, task_v1, task_v2
from tests.wire import golden

JSON = frozenset({"json"})
V1 = golden.load("messages_redis_v1")
V2 = {case["name"]: case for case in golden.load("messages_redis")}
NEW_IN_V2 = frozenset({"origin", "ignore_result", "replaced_task_nesting", "stamped_headers", "stamps", "compression"})
TIMES = ("eta", "expires")


@pytest.mark.parametrize("case", V1, ids=golden.names(V1))
def test_the_same_call_says_the_same_in_both_protocols(case: dict[str, Any]) -> None:
    queue, _, _ = case["key"].partition("\x06\x16")
    old = redis_envelope.decode(case["raw"].encode(), queue)
    new = redis_envelope.decode(V2[case["name"]]["raw"].encode(), queue)
    assert task_v1.is_v1(old)
    assert not task_v1.is_v1(new)

    upgraded = task_v1.upgrade(old, JSON)
    assert not task_v1.is_v1(upgraded)
    read_headers(upgraded.headers)
    expected = {name: value for name, value in new.headers.items() if name not in NEW_IN_V2}
    for header in TIMES:  # recorded at another moment
        assert (upgraded.headers[header] is None) == (expected[header] is None)
        expected[header] = upgraded.headers[header]
    if case["name"] == "kwargs":
        expected["kwargsrepr"] = expected["kwargsrepr"].replace("(...)", "[...]")  # a tuple is a list after its way
    assert upgraded.headers == expected
    assert task_v2.decode_body(upgraded, JSON) == task_v2.decode_body(new, JSON)
    assert upgraded.priority == new.priority


def old_message(body: Any, **changes: Any) -> Message:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Message("celery", {}, data, **changes)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([[], {}, {}], "no object"),
        (None, "no object"),
        ({}, "name a task"),
        ({"task": "t"}, "task's id"),
        ({"task": None, "id": "i"}, "name a task"),
        ({"task": ["t"], "id": "i"}, "name a task"),
        ({"task": "t", "id": {}}, "task's id"),
        ({"task": "t", "id": "i", "args": "x"}, "args must be a list"),
        ({"task": "t", "id": "i", "kwargs": []}, "kwargs must be an object"),
        ({"task": "t", "id": "i", "callbacks": "x"}, "callbacks must be a list"),
        ({"task": "t", "id": "i", "chord": 1}, "chord must be a signature"),
    ],
)
def test_what_is_no_task_of_either_protocol_is_refused(body: Any, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        task_v1.upgrade(old_message(body), JSON)


def test_the_least_that_is_a_task() -> None:
    upgraded = task_v1.upgrade(old_message({"task": "t", "id": "i"}), JSON)
    assert task_v2.decode_body(upgraded, JSON) == ([], {}, task_v2.NOTHING_FOLLOWS)
    assert (upgraded.id, upgraded.task, upgraded.headers["retries"]) == ("i", "t", 0)


def test_bytes_that_are_no_json_are_refused() -> None:
    with pytest.raises(DecodeError):
        task_v1.upgrade(old_message(b"\x80\x02}"), JSON)
    with pytest.raises(ContentDisallowed):
        task_v1.upgrade(old_message(b"\x80\x02}", content_type="application/x-python-serialize"), JSON)
