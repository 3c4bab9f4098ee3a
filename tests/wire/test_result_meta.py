"""Result documents: Celery's bytes for the same end of a task, and every document of Celery's is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from celeriac import exceptions
from celeriac.core.states import EXCEPTION_STATES
from celeriac.exceptions import DecodeError, EncodeError, MessageTooLarge, TaskFailed
from celeriac.wire import compression, json_text, result_meta
from celeriac.wire.result_meta import ResultMeta
from tests.wire import golden
from tests.wire.strategies import quick, values

MAX_BYTES = 1024 * 1024


def documents(name: str) -> list[Any]:
    return [
        pytest.param(text, id=f"{case['name']} {index}")
        for case in golden.load(name)
        for index, text in enumerate(case["documents"])
    ]


@pytest.mark.parametrize("text", documents("results") + documents("results_extended"))
def test_a_document_of_celery_is_read_and_written_again_the_same(text: str) -> None:
    raw = json.loads(text)
    meta = result_meta.decode(text.encode())
    assert (meta.status, meta.task_id, meta.traceback) == (raw["status"], raw["task_id"], raw["traceback"])
    assert (meta.group_id, meta.parent_id, meta.children) == (
        raw.get("group_id"),
        raw.get("parent_id"),
        raw["children"],
    )
    if meta.status in EXCEPTION_STATES:
        assert isinstance(meta.result, Exception)
        # How an exception is written, test_remote_error tells; here what stands around it.
        meta.result = json_text.loads(json.dumps(raw["result"]).encode())
    assert json.loads(result_meta.encode(meta, max_bytes=MAX_BYTES)) == json.loads(text)


ENDS = {case["name"]: case for case in golden.load("results")}


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("failure ValueError('bad', 3)", ValueError("bad", 3)),
        ("failure KeyError('key')", KeyError("key")),
        ("failure ValueError(object, {1})", ValueError(object, {1})),
        (
            "failure UnicodeDecodeError('utf-8', b'\\xff', 0, 1, 'bad')",
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ),
        ("failure ExceptionGroup('many', [ValueError(1)])", ExceptionGroup("many", [ValueError(1)])),
        ("failure OSError(2, 'No such file', 'x')", FileNotFoundError(2, "No such file")),
        ("failure SoftTimeLimitExceeded()", exceptions.SoftTimeLimitExceeded()),
        ("failure TaskRevokedError('x')", exceptions.TaskRevokedError("x")),
        ("unregistered", exceptions.NotRegistered("shop.unknown")),
        ("hard limit", exceptions.TimeLimitExceeded(1)),
        ("terminated", exceptions.TaskRevokedError("terminated")),
        ("expired", exceptions.TaskRevokedError("expired")),
        ("revoked", exceptions.TaskRevokedError("revoked")),
        ("success 3", 3),
        ("success [1, (2, 3), {'a': b'x'}]", [1, (2, 3), {"a": b"x"}]),
    ],
)
def test_the_same_end_is_written_as_celery_writes_it(name: str, result: Any) -> None:
    text = ENDS[name]["documents"][-1]
    raw = json.loads(text)
    meta = ResultMeta(
        status=raw["status"],
        result=result,
        traceback=raw["traceback"],
        children=raw["children"],
        date_done=raw["date_done"],
        parent_id=raw.get("parent_id"),
        task_id=raw["task_id"],
    )
    assert json.loads(result_meta.encode(meta, max_bytes=MAX_BYTES)) == json.loads(text)


@given(
    status=st.sampled_from(["SUCCESS", "STARTED", "PROGRESS"]),
    result=values,
    children=st.none() | st.just([[["c", None], None]]),
    ids=st.tuples(st.none() | st.text(min_size=1), st.none() | st.text(min_size=1)),
    extended=st.booleans(),
)
@quick(60)
def test_every_document_comes_back(
    status: str, result: Any, children: Any, ids: tuple[str | None, str | None], extended: bool
) -> None:
    meta = ResultMeta(
        status=status, result=result, children=children, group_id=ids[0], parent_id=ids[1], task_id="the-id"
    )
    if extended:
        meta.name, meta.args, meta.kwargs, meta.worker, meta.retries, meta.queue = "t", [result], {}, "w", 1, "q"
        meta.stamps = {"day": "monday"}
    assert result_meta.decode(result_meta.encode(meta, max_bytes=100 * MAX_BYTES)) == meta


def test_fields_that_are_not_extended_stay_unset() -> None:
    meta = result_meta.decode(result_meta.encode(ResultMeta(status="SUCCESS", task_id="i"), max_bytes=MAX_BYTES))
    assert meta.name is UNSET
    assert meta.args is UNSET


def test_a_result_over_the_limit_is_refused() -> None:
    with pytest.raises(MessageTooLarge, match="result_max_bytes = 1000"):
        result_meta.encode(ResultMeta(status="SUCCESS", result="x" * 1000, task_id="i"), max_bytes=1000)


def test_a_result_that_is_no_plain_data_is_refused() -> None:
    with pytest.raises(EncodeError, match="result"):
        result_meta.encode(ResultMeta(status="SUCCESS", result={1, 2}, task_id="i"), max_bytes=MAX_BYTES)


def test_a_compressed_document_is_read() -> None:
    text = result_meta.encode(ResultMeta(status="SUCCESS", result="x", task_id="i"), max_bytes=MAX_BYTES)
    mime, data = compression.compress(text, "zlib")
    payload = b"\x00celery-compressed\x00" + mime.encode() + b"\x00" + data
    assert result_meta.decode(payload).result == "x"
    with pytest.raises(DecodeError, match="broken"):
        result_meta.decode(payload[:-5])
    with pytest.raises(DecodeError, match="cut off"):
        result_meta.decode(b"\x00celery-compressed\x00gzip")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b"\x80\x04",
        b'{"status": "SUCCESS"}',
        b'{"task_id": "i"}',
        b'{"status": null, "task_id": "i"}',
        b'{"status": 7, "task_id": "i"}',
        b'{"status": "SUCCESS", "task_id": ["i"]}',
        b'{"status": "SUCCESS", "task_id": "i", "children": "x"}',
        b'{"status": "SUCCESS", "task_id": "i", "traceback": 7}',
        b'{"status": "SUCCESS", "task_id": "i", "date_done": []}',
        b'{"status": "SUCCESS", "task_id": "i", "result": {"__type__": "x", "__value__": 1}}',
        b'{"status": "SUCCESS", "task_id": "i", "result": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"status": "SUCCESS", "task_id": "i", "result": ' + b"1" * 20_000 + b"}",
    ],
)
def test_what_is_no_document_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        result_meta.decode(payload)


@pytest.mark.parametrize(
    "result", [None, "text", [1], 7, {}, {"exc_type": 7}, {"exc_type": "system", "exc_module": "os"}]
)
def test_a_failure_is_a_failure_whatever_it_holds(result: Any) -> None:
    payload = json.dumps({"status": "FAILURE", "task_id": "i", "result": result}).encode()
    assert isinstance(result_meta.decode(payload).result, TaskFailed)
