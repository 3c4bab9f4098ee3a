"""Documents as rows of Celery's table, and back."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from typing import Any

import pytest
from msgspec import Struct

from celeriac.backends.sqlalchemy.keys import key_of
from celeriac.backends.sqlalchemy.rows import Limits, group_row, own_document, spare_row, task_row
from celeriac.core.effects import Record
from celeriac.wire import compression, result_meta
from celeriac.wire.result_meta import ResultFormat, ResultMeta

NOW = 1_800_000_000.25
DONE = "2026-11-22T17:01:02.123456+01:00"
LARGE = "x" * 70_000


class Stored(Struct):
    """A row as a database gives it back."""

    result: bytes | None
    date_done: dt.datetime | None
    celeriac_document: bytes | None


def stored(row: dict[str, Any], **changed: Any) -> Stored:
    values = {**row, **changed}
    return Stored(values["result"], values["date_done"], values["celeriac_document"])


def document(**fields: Any) -> bytes:
    values = {"status": "SUCCESS", "result": 1, "date_done": DONE, "task_id": "t", **fields}
    return result_meta.encode(ResultMeta(**values), max_bytes=10_000_000)


def row_of(payload: bytes, state: str = "SUCCESS", limits: Limits | None = None) -> dict[str, Any]:
    return task_row(Record("t", state, payload, 60.0), NOW, limits or Limits())


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(document(result={"result": 1, "a": '"result":'}), id="ours"),
        pytest.param(document(result=None), id="null"),
        pytest.param(document(result=LARGE), id="large"),
        pytest.param(document(parent_id='"result": 5', group_id="g"), id="its-own-words"),
        pytest.param(b'{"result" : 1,"status":"SUCCESS"}', id="spaced"),
        pytest.param(b'{"status": {"result":2}, "result":2}', id="nested"),
        pytest.param(b'{"status":"SUCCESS","result": 5, "result": 6}', id="twice"),
        pytest.param(b'{"status":"SUCCESS"}', id="no-result"),
        pytest.param(b"[1, 2]", id="no-object"),
        pytest.param(b"", id="empty"),
        pytest.param(pickle.dumps({"status": "SUCCESS", "result": 1}), id="pickle"),
        pytest.param(compression.compress(document(), "zlib")[1], id="compressed"),
        pytest.param(b"\xff\0\n\xfe", id="bytes"),
    ],
)
@pytest.mark.parametrize("limits", [Limits(), Limits(None, 100, 100, True)], ids=["all", "little"])
def test_a_document_comes_back_to_the_byte(payload: bytes, limits: Limits) -> None:
    row = row_of(payload, limits=limits)
    assert own_document(stored(row), row["status"]) == payload
    group = group_row("g", payload, None, NOW, limits)
    assert own_document(stored(group), "") == payload


def test_celerys_columns() -> None:
    payload = document(
        result={"a": 1}, traceback="Trace\0back", children=[[["c", None], None]], name="n" * 200, args=[], kwargs={},
        worker="w", retries=3, queue="q", stamps={"s": [1]},
    )  # fmt: skip
    row = row_of(payload)
    kept = row.pop("celeriac_document")
    assert row == {
        "task_id": "t",
        "status": "SUCCESS",
        "result": b'{"a": 1}',
        "date_done": dt.datetime(2026, 11, 22, 16, 1, 2, 123456),  # noqa: DTZ001 (Celery's, in UTC)
        "traceback": "Traceback",
        "children": b'[[["c", null], null]]',
        "name": "n" * 155,
        "args": b"[]",
        "kwargs": b"{}",
        "worker": "w",
        "retries": 3,
        "queue": "q",
        "stamps": b'{"stamped_headers":["s"],"stamps":{"s":[1]}}',
        "celeriac_expires_at": NOW + 60,
        "celeriac_stored_at": NOW,
    }
    assert kept is not None
    assert b'{"a": 1}' not in kept, "the result is kept once"


def test_what_is_not_there_is_null() -> None:
    row = row_of(document(status="STARTED", result={"pid": 1}, children=[], date_done=None), "STARTED")
    absent = ("traceback", "children", "name", "args", "kwargs", "worker", "retries", "queue", "stamps", "date_done")
    assert {name: row[name] for name in absent} == dict.fromkeys(absent)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(pickle.dumps(1), id="pickle"),
        pytest.param(
            result_meta.encode(
                ResultMeta(status="SUCCESS", task_id="t"), max_bytes=1000, form=ResultFormat(compression="zlib")
            ),
            id="compressed",
        ),
    ],
)
def test_what_celery_cannot_read_is_no_value_of_any_serializer(payload: bytes) -> None:
    row = row_of(payload)
    assert (row["status"], row["date_done"]) == (
        "SUCCESS",
        dt.datetime.fromtimestamp(NOW, dt.UTC).replace(tzinfo=None),
    )
    with pytest.raises(json.JSONDecodeError):
        json.loads(row["result"])


def test_what_a_column_does_not_take_is_left_out() -> None:
    limits = Limits(result_bytes=65_535, text_bytes=65_535, whole_seconds=True)
    payload = document(
        result=LARGE, traceback="ä" * 40_000, name="n", args=[LARGE], kwargs={"a": 1}, children=[[[LARGE, None], None]]
    )
    row = row_of(payload, limits=limits)
    assert len(row["result"]) < 100
    assert (row["args"], row["kwargs"], row["children"]) == (None, b'{"a": 1}', None)
    assert len(row["traceback"].encode()) == 65_534, "cut between two characters"
    assert row["date_done"].microsecond == 0


@pytest.mark.parametrize(
    ("status", "changed"),
    [
        ("FAILURE", {}),
        ("SUCCESS", {"date_done": None}),
        ("SUCCESS", {"date_done": dt.datetime(2026, 11, 22, 16, 1, 3)}),  # noqa: DTZ001
        ("SUCCESS", {"result": b"12"}),
        ("SUCCESS", {"celeriac_document": None}),
    ],
    ids=["status", "no-date", "date", "result", "theirs-alone"],
)
def test_a_row_that_celery_has_written_is_not_ours(status: str, changed: dict[str, Any]) -> None:
    assert own_document(stored(row_of(document()), **changed), status) is None


def test_a_spare_row_has_plain_texts_only() -> None:
    row = row_of(document(traceback="größe", name="ä", result="ö"))
    spare = spare_row(row)
    assert (spare["traceback"], spare["name"]) == ("gr??e", "?")
    assert own_document(stored(spare), "SUCCESS") == document(traceback="größe", name="ä", result="ö")


@pytest.mark.parametrize("status", ["S" * 80, "sträng\0e"], ids=["long", "odd"])
def test_a_state_of_ones_own_may_be_odd(status: str) -> None:
    payload = document(status=status, result={"done": 1}, date_done=None)
    row = row_of(payload, status)
    assert len(row["status"]) <= 50
    assert own_document(stored(row), row["status"]) == payload


@pytest.mark.parametrize("plain", ["3a1b2c3d-0000-4000-8000-000000000000", "Order-7", "a" * 155, "~!"])
def test_a_plain_id_is_its_own_key(plain: str) -> None:
    assert key_of(plain) == plain


def test_other_ids_have_keys_of_their_own() -> None:
    odd = ["", " ", "a b", "ä", "a\0", "a" * 156, "a" * 155 + "b", "a" * 155 + "c", "\ud800", "line\nline"]
    keys = [key_of(identifier) for identifier in odd]
    assert len(set(keys)) == len(odd)
    for key in keys:
        assert key.isascii()
        assert key.isprintable()
        assert len(key) <= 155
        assert key_of(key) == key, "a key may be used as the id"
