"""The Redis envelope: strict about what it is, lenient about what may be missing. Recordings: see test_task_v2."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from celeriac.core.message import Message
from celeriac.exceptions import BadMessage, EncodeError
from celeriac.wire import redis_envelope


def envelope(**changes: Any) -> bytes:
    whole: dict[str, Any] = {
        "body": base64.b64encode(b"[[], {}, {}]").decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"id": "i", "task": "t"},
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "tag",
        },
    }
    for name, value in changes.items():
        name = name.replace("_", "-") if name.startswith("content") else name
        if value is ...:
            del whole[name]
        elif isinstance(value, dict) and name == "properties" and value:
            whole[name] = {key: part for key, part in {**whole[name], **value}.items() if part is not ...}
        else:
            whole[name] = value
    return json.dumps(whole).encode()


def test_the_usual_envelope_is_read() -> None:
    message = redis_envelope.decode(envelope(), "celery")
    assert message == Message("celery", {"id": "i", "task": "t"}, b"[[], {}, {}]", {"priority": 0})


def test_a_message_sent_through_an_exchange_keeps_its_way() -> None:
    raw = envelope(properties={"delivery_info": {"exchange": "orders", "routing_key": "orders.new"}})
    message = redis_envelope.decode(raw, "celery")
    assert (message.exchange, message.routing_key) == ("orders", "orders.new")
    again = json.loads(redis_envelope.encode(message, "tag"))
    assert again["properties"]["delivery_info"] == {"exchange": "orders", "routing_key": "orders.new"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"body": "[[ü]]", "properties": {"body_encoding": ...}}, "[[ü]]".encode()),
        ({"body": "[[ü]]", "properties": {"body_encoding": "utf-8"}}, "[[ü]]".encode()),
        ({"body": ""}, b""),
    ],
)
def test_bodies_in_other_encodings_are_read(changes: dict[str, Any], expected: bytes) -> None:
    assert redis_envelope.decode(envelope(**changes), "celery").body == expected


def test_what_says_no_content_type_is_of_none_that_is_accepted() -> None:
    message = redis_envelope.decode(envelope(content_type=None, content_encoding=...), "celery")
    assert (message.content_type, message.content_encoding) == ("application/data", "utf-8")


@pytest.mark.parametrize("number", ["NaN", "1e400", "-Infinity"])
def test_headers_that_only_celerys_json_knows_are_read(number: str) -> None:
    raw = envelope(headers={"id": "i", "x": "NUMBER", "argsrepr": "\ud800"}).replace(b'"NUMBER"', number.encode())
    message = redis_envelope.decode(raw, "celery")
    assert isinstance(message.headers["x"], float)
    assert message.headers["argsrepr"] == "\ud800"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no valid JSON"),
        (b"not json", "no valid JSON"),
        (b"\xff\xfe\x00", "no valid JSON"),
        (b"\x80\x04\x95.", "no valid JSON"),
        (b"[]", "expected `object`|Expected `object`"),
        (b"null", "Expected `object`"),
        (b"7", "Expected `object`"),
        (b"{}", "body"),
        (b"[" * 100_000, "256 levels"),
        (envelope(headers=[]), r"headers"),
        (envelope(headers=...), "headers"),
        (envelope(headers=None), "headers"),
        (envelope(properties=...), "properties"),
        (envelope(properties=None), "properties"),
        (envelope(properties="x"), "properties"),
        (envelope(properties="\ud800"), "properties"),
        (envelope(headers="\ud800"), "headers"),
        (envelope(properties={}), "delivery_tag"),
        (envelope(properties={"delivery_tag": ...}), "delivery_tag"),
        (envelope(properties={"delivery_tag": 7}), "delivery_tag"),
        (envelope(properties={"priority": "high"}), "priority"),
        (envelope(properties={"priority": 1.5}), "priority"),
        (envelope(properties={"priority": True}), "priority"),
        (envelope(properties={"delivery_info": "x"}), "delivery_info"),
        (envelope(properties={"delivery_info": {"exchange": 7}}), "delivery_info"),
        (envelope(properties={"delivery_info": {"routing_key": ["a"]}}), "delivery_info"),
        (envelope(properties={"body_encoding": "rot13"}), "rot13"),
        (envelope(properties={"body_encoding": ["base64"]}), "body encoding"),
        (envelope(body="*not base64*"), "the body is no base64"),
        (envelope(body="QUJ"), "the body is no base64"),
        (envelope(body="Zm9v\nYmFy"), "the body is no base64"),
        (envelope(body="ü"), "the body is no base64"),
        (envelope(body="\ud800", properties={"body_encoding": "utf-8"}), "the body is no utf-8"),
        (envelope(body=None), "body"),
        (envelope(body=[1]), "body"),
        (envelope(body=...), "body"),
        (envelope(content_type=7), "content-type"),
        (envelope(content_encoding=[]), "content-encoding"),
        (envelope(headers={"h": [[]] * 20_000}), "lists and objects"),
        (envelope(headers={"x": {"__type__": "nonsense", "__value__": 1}}), "nonsense"),
        (envelope(headers={"x": {"__type__": "datetime", "__value__": "yesterday"}}), "datetime"),
    ],
)
def test_everything_else_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        redis_envelope.decode(raw, "celery")


def test_headers_that_are_no_plain_data_are_refused() -> None:
    with pytest.raises(EncodeError, match="'headers'"):
        redis_envelope.encode(Message("celery", {"x": object()}, b""), "tag")
