"""Requests to workers and replies as bytes: Celery's form, strictly read, within limits. Against real Celery: tests/interop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celeriac.core.mailbox import Address
from celeriac.core.message import Message
from celeriac.exceptions import BadMessage, EncodeError
from celeriac.wire.control import Reply, ReplyTo, Request, decode_reply, decode_request, encode_reply, encode_request

TO_ALL = Address("celery.pidbox", "fanout")
BACK = ReplyTo("reply.celery.pidbox", "oid")
LIMIT = 10_000


def letter(body: Any, headers: dict[str, Any] | None = None, **options: Any) -> Message:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Message("", {"clock": 1, "expires": 0} if headers is None else headers, data, **options)


def test_a_request_has_celerys_form() -> None:
    request = Request("ping", {"a": 1}, ["w@h"], None, None, "ticket", BACK, 3, 12.5)
    sent = encode_request(request, TO_ALL, LIMIT)
    assert json.loads(sent.body) == {
        "method": "ping",
        "arguments": {"a": 1},
        "destination": ["w@h"],
        "pattern": None,
        "matcher": None,
        "ticket": "ticket",
        "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "oid"},
    }
    assert sent.headers == {"clock": 3, "expires": 12.5}
    assert (sent.exchange, sent.routing_key, sent.properties) == ("celery.pidbox", "", {"delivery_mode": 2})
    assert decode_request(sent, LIMIT) == request


def test_without_a_wish_for_replies_there_is_no_ticket() -> None:
    sent = encode_request(Request("shutdown"), TO_ALL, LIMIT)
    assert {"ticket", "reply_to"}.isdisjoint(json.loads(sent.body))
    assert decode_request(sent, LIMIT) == Request("shutdown")


def test_a_reply_goes_back_to_who_asked() -> None:
    sent = encode_reply(Reply("w@h", {"ok": "pong"}, "ticket", 9), BACK, LIMIT)
    assert json.loads(sent.body) == {"w@h": {"ok": "pong"}}
    assert sent.headers == {"ticket": "ticket", "clock": 9}
    assert (sent.exchange, sent.routing_key, sent.properties) == ("reply.celery.pidbox", "oid", {"delivery_mode": 1})
    assert BACK.address == Address("reply.celery.pidbox", "direct")
    assert decode_reply(sent, LIMIT) == Reply("w@h", {"ok": "pong"}, "ticket", 9)


def test_what_others_leave_out_or_add_does_no_harm() -> None:
    assert decode_request(letter({"method": "ping", "arguments": None, "more": [1]}, {}), LIMIT) == Request("ping")
    assert decode_reply(letter({"w@h": None}, {"clock": "x", "ticket": 5}), LIMIT) == Reply("w@h", None)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (letter(b"{"), "no valid JSON"),
        (letter([1]), "no request"),
        (letter({"arguments": {}}), "method"),
        (letter({"method": 1}), "method"),
        (letter({"method": "ping", "arguments": [1]}), "arguments"),
        (letter({"method": "ping", "destination": "w@h"}), "destination"),
        (letter({"method": "ping", "destination": [1]}), "destination"),
        (letter({"method": "ping", "reply_to": {"exchange": 1, "routing_key": "x"}}), "reply_to"),
        (letter({"method": "ping", "arguments": "\ud800"}), "arguments"),
        (letter("\ud800"), "no request"),
        (letter({"method": "ping"}, {"expires": "soon"}), "expires"),
        (letter({"method": "ping"}, {"expires": 10**400}), "expires"),
        (letter({"method": "ping"}, {"expires": True}), "expires"),
        (letter({"method": "ping"}, content_type="application/x-python-serialize"), "content type"),
        (letter({"method": "x" * LIMIT}), "control_max_bytes"),
        (letter(b"[" * 9000), "nested"),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(bad: Message, why: str) -> None:
    with pytest.raises(BadMessage, match=why):
        decode_request(bad, LIMIT)


@pytest.mark.parametrize("body", [b"x", [1], {}, {"a": 1, "b": 2}, "text"])
def test_a_bad_reply_is_refused(body: Any) -> None:
    with pytest.raises(BadMessage):
        decode_reply(letter(body), LIMIT)


def test_too_many_containers_are_not_built() -> None:
    data = b'{"method": "x", "arguments": {"a": [' + b",".join([b"[]"] * 200_001) + b"]}}"
    with pytest.raises(BadMessage, match="lists and objects"):
        decode_request(letter(data), 10**7)


def test_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(EncodeError):
        encode_request(Request("x", {"a": object()}), TO_ALL, LIMIT)
    with pytest.raises(EncodeError, match="control_max_bytes"):
        encode_reply(Reply("n", "x" * LIMIT), BACK, LIMIT)
