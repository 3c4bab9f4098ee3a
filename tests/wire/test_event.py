"""Events as bytes: one object, or a list of them; anything else is refused. Against real Celery: tests/interop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celeriac.core.message import Message
from celeriac.exceptions import BadMessage, EncodeError
from celeriac.wire.event import decode_events, encode_event, encode_events, group_of

STARTED = {"type": "task-started", "uuid": "1", "hostname": "w@h", "timestamp": 1.5, "clock": 3}
HEARTBEAT = {"type": "worker-heartbeat", "hostname": "w@h", "freq": 2.0, "loadavg": [0.1, 0.2, 0.3]}


def test_one_event_goes_under_its_type() -> None:
    letter = encode_event(HEARTBEAT, "celeryev")
    assert (letter.exchange, letter.routing_key) == ("celeryev", "worker.heartbeat")
    assert (letter.headers, letter.properties) == ({"hostname": "w@h"}, {"delivery_mode": 1})
    assert json.loads(letter.body) == HEARTBEAT
    assert decode_events(letter, ["json"], 1000) == [HEARTBEAT]


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
def test_several_events_go_as_a_list_under_their_group(serializer: str) -> None:
    events = [STARTED, {**STARTED, "type": "task-succeeded", "result": "5"}]
    letter = encode_events(events, "celeryev", serializer)
    assert letter.routing_key == "task.multi"
    assert decode_events(letter, [serializer], 1000) == events


def test_the_group_is_what_stands_before_the_first_dash() -> None:
    assert [group_of(one) for one in ("task-sent", "worker-elect-ack", "own")] == ["task", "worker", "own"]


@pytest.mark.parametrize(
    "body",
    [
        b"{", "text", 5, [5], [STARTED, None], {}, {"type": 5}, {"type": "x", "hostname": 5}, {"type": "x", "clock": "5"},
        "\ud800", {"type": "x", "clock": "\ud800"},
        {"type": "x", "timestamp": "now"}, {"type": "x", "uuid": ["1"]}, {"type": "x", "utcoffset": "west"},
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(body: Any) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(BadMessage):
        decode_events(Message("", {}, data), ["json"], 1000)


def test_limits_hold_before_anything_is_read() -> None:
    letter = encode_event({**HEARTBEAT, "more": "x" * 1000}, "celeryev")
    with pytest.raises(BadMessage, match="event_max_bytes"):
        decode_events(letter, ["json"], 1000)
    many = Message("", {}, b"[" + b",".join([b"{}"] * 200_001) + b"]")
    with pytest.raises(BadMessage, match="lists and objects"):
        decode_events(many, ["json"], 10**7)
    with pytest.raises(BadMessage, match="not accepted"):
        decode_events(Message("", {}, b"x", content_type="application/x-python-serialize"), ["json"], 1000)


def test_a_field_that_is_no_plain_data_is_refused() -> None:
    with pytest.raises(EncodeError):
        encode_event({**STARTED, "result": object()}, "celeryev")
