"""Sealed bodies and results: nobody without the key reads them, and they open only as what they were sealed for."""

from __future__ import annotations

import pytest

from celeriac.core.message import Message
from celeriac.exceptions import ImproperlyConfigured, SecurityError
from celeriac.wire import serializers, signing, task_v2
from celeriac.wire.sealing import CONTENT_TYPE, SealingKeys
from celeriac.wire.signing import Subject
from celeriac.wire.signing_hmac import HmacKeys
from celeriac.wire.x509 import X509Keys

OLD, NEW = b"an old key of the cluster", b"a new key of the cluster!"
SUBJECT = Subject(signing.TASK, "shop.pay", "id-1")
SECRET = "4111-1111-1111-1111"


class Ring:
    """Keys as the client hands them to the wire."""

    inner = "json"

    def __init__(self, *keys: bytes) -> None:
        self._keys = SealingKeys(keys)

    def sealing(self) -> SealingKeys:
        return self._keys

    def hmac(self) -> HmacKeys:
        raise NotImplementedError

    def x509(self) -> X509Keys:
        raise NotImplementedError


def sealed_message(keys: Ring) -> Message:
    call = task_v2.Call(
        id="id-1", task="shop.pay", args=[SECRET], kwargs={"card": SECRET}, serializer="sealed",
        callbacks=[{"task": "shop.tell", "args": [SECRET]}],
    )  # fmt: skip
    return task_v2.encode(call, now=0.0, max_bytes=10_000, keys=keys)


def test_a_body_comes_back_by_each_key_that_is_known_and_shows_nothing() -> None:
    message = sealed_message(Ring(OLD))
    assert SECRET.encode() not in message.body
    assert SECRET not in repr(message.headers)
    assert (message.headers["argsrepr"], message.headers["kwargsrepr"]) == ("<sealed>", "<sealed>")
    args, kwargs, embed = task_v2.decode_body(message, ["sealed"], keys=Ring(NEW, OLD))
    assert (list(args), kwargs, embed.callbacks) == (
        [SECRET],
        {"card": SECRET},
        [{"task": "shop.tell", "args": [SECRET]}],
    )
    with pytest.raises(SecurityError, match=r"sealed with the unknown key [0-9a-f]{16}: security_encryption_key has"):
        task_v2.decode_body(message, ["sealed"], keys=Ring(NEW))


def test_the_same_twice_is_sealed_differently() -> None:
    keys = Ring(OLD)
    assert len({serializers.dumps([1], "sealed", keys, SUBJECT).data for _ in range(50)}) == 50


def test_no_flipped_bit_and_no_other_subject_is_accepted() -> None:
    keys = Ring(OLD)
    data = serializers.dumps([1], "sealed", keys, SUBJECT).data
    assert serializers.loads(data, CONTENT_TYPE, "binary", ["sealed"], keys, SUBJECT) == [1]
    changed = [data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for at in range(len(data)) for bit in range(8)]
    for forged in [*changed, *(data[:length] for length in range(len(data))), data + b"\0"]:
        with pytest.raises(SecurityError):
            serializers.loads(forged, CONTENT_TYPE, "binary", ["sealed"], keys, SUBJECT)
    for other in (SUBJECT._replace(kind="result"), SUBJECT._replace(name="shop.buy"), SUBJECT._replace(id="id-2")):
        with pytest.raises(SecurityError, match="sealed for another task or id"):
            serializers.loads(data, CONTENT_TYPE, "binary", ["sealed"], keys, other)


@pytest.mark.parametrize("keys", [[], [b"short"], [OLD, b"short"]])
def test_keys_that_are_none(keys: list[bytes]) -> None:
    with pytest.raises(ImproperlyConfigured, match="security_encryption_key"):
        SealingKeys(keys)
