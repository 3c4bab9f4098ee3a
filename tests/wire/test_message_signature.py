"""Signed messages: whatever byte of what is covered changes, the signature does not hold."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from celeriac.core.headers import CRASHES, LOSSES, SIGNATURE, SLOT
from celeriac.core.message import Message
from celeriac.exceptions import EncodeError, SecurityError
from celeriac.wire import message_signature, task_v2
from celeriac.wire.signing_hmac import HmacKeys

OLD, NEW = HmacKeys([b"an old key of the cluster"]), HmacKeys([b"a new key of the cluster!"])
BOTH = HmacKeys([b"a new key of the cluster!", b"an old key of the cluster"])
NOW, NONCE = 1_700_000_000.25, "0123456789abcdef" * 2


def signed(**options: Any) -> Message:
    call = task_v2.Call(
        id="id-1",
        task="shop.pay",
        args=[1, "x"],
        queue="money",
        eta=NOW + 60,
        expires=NOW + 600,
        group="g",
        reply_to="replies",
        priority=3,
        stamps={"tenant": "a"},
        stamped_headers=["tenant"],
        time_limit=5.0,
        headers={"tenant": "a", "nested": {"b": [1, 2.5, None, True]}},
        **options,
    )
    message = task_v2.encode(call, now=NOW, max_bytes=10_000)
    message_signature.sign(message, OLD, NOW, NONCE)
    return message


def test_it_holds_with_each_key_that_is_known() -> None:
    message = signed()
    found = message_signature.verify(message, BOTH)
    assert (found.signed_at, found.nonce, found.place, found.by_exchange) == (NOW, NONCE, "money", False)
    assert found.key_id == OLD.ids[0] == BOTH.ids[1]
    with pytest.raises(SecurityError, match=f"signed with the unknown key {OLD.ids[0]}"):
        message_signature.verify(message, NEW)
    message.queue, message.exchange = "", "orders é"
    message_signature.sign(message, BOTH, NOW, NONCE)
    found = message_signature.verify(message, NEW)
    assert (found.place, found.by_exchange) == ("orders é", True)


def test_no_flipped_bit_is_accepted() -> None:
    message = signed()
    accepted = []

    def attempt(changed: Message, what: Any) -> None:
        try:
            message_signature.verify(changed, BOTH)
        except SecurityError:
            return
        accepted.append(what)

    def flips(text: str) -> list[str]:
        data = text.encode()
        return [
            flipped.decode("latin-1")
            for place in range(len(data))
            for bit in range(8)
            if (flipped := data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        ]

    for place in range(len(message.body)):
        for bit in range(8):
            body = bytearray(message.body)
            body[place] ^= 1 << bit
            attempt(replace(message, body=bytes(body)), ("body", place, bit))
    for name, value in message.headers.items():
        others: list[Any] = (
            flips(value) if isinstance(value, str) else [["another"], 17, None, {"a": 1}, "", True, False]
        )
        for other in others:
            if type(other) is not type(value) or other != value:
                attempt(replace(message, headers={**message.headers, name: other}), (name, other))
        attempt(replace(message, headers={key: kept for key, kept in message.headers.items() if key != name}), name)
        for text in flips(name):
            renamed = {text if key == name else key: kept for key, kept in message.headers.items()}
            attempt(replace(message, headers=renamed), (name, text))
    for other in flips(message.content_type):
        attempt(replace(message, content_type=other), other)
    for other in flips(message.content_encoding):
        attempt(replace(message, content_encoding=other), other)
    for name in ("reply_to", "correlation_id"):
        for other in flips(message.properties[name]):
            attempt(replace(message, properties={**message.properties, name: other}), other)
    attempt(replace(message, headers={**message.headers, "added": 1}), "a header more")
    # A name that begins with x- is a broker's own, and so may come and go.
    assert [what for what in accepted if not (isinstance(what, tuple) and str(what[1]).startswith("x-"))] == []


def test_what_brokers_and_workers_write_on_the_way_is_not_covered() -> None:
    message = signed()
    message.headers |= {CRASHES: 1, LOSSES: 2, SLOT: 3.0, "redelivered": True, "x-death": [{"count": 1}]}
    message.properties |= {"priority": 9, "delivery_mode": 1}
    message.not_before = NOW
    assert message_signature.verify(message, OLD).nonce == NONCE


def test_texts_for_people_may_be_escaped_on_the_way() -> None:
    message = signed(argsrepr="('\udcff',)")
    message.headers["argsrepr"] = "('\\udcff',)"
    assert message_signature.verify(message, OLD).nonce == NONCE


@pytest.mark.parametrize("header", [None, 7, "", "1 x", "1 " + "0" * 16 + " 1 " + "0" * 32 + " q:money " + "0" * 63])
def test_what_is_no_signature(header: Any) -> None:
    message = signed()
    message.headers[SIGNATURE] = header
    with pytest.raises(SecurityError, match="not signed"):
        message_signature.verify(message, OLD)


def test_headers_that_are_no_plain_data_cannot_be_signed() -> None:
    message = signed()
    message.headers["own"] = object()
    with pytest.raises(EncodeError, match=r"task shop.pay\[id-1\] can't be signed"):
        message_signature.sign(message, OLD, NOW, NONCE)
