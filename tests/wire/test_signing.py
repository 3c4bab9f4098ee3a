"""Signed bodies: they come back only as they were signed, for whom they were signed, by keys that are trusted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from pathlib import Path
from typing import Any

import pytest
from celery.security.certificate import Certificate, FSCertStore
from celery.security.key import PrivateKey
from celery.security.serialization import SecureSerializer
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.message import Message
from celeriac.exceptions import ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured, SecurityError
from celeriac.wire import result_meta, serializers, signing, task_v2
from celeriac.wire.result_meta import ResultFormat, ResultMeta
from celeriac.wire.sealing import SealingKeys
from celeriac.wire.signing import Subject
from celeriac.wire.signing_hmac import CONTENT_TYPE, HmacKeys
from celeriac.wire.x509 import X509Keys
from tests.wire.certificates import PASSWORD, Identity, elliptic_key
from tests.wire.strategies import quick

OLD, NEW = b"an old key of the cluster", b"a new key of the cluster!"
SUBJECT = Subject(signing.TASK, "shop.add", "id-1")
HMAC = (CONTENT_TYPE, "binary", ["hmac"])
AUTH = ("application/data", "utf-8", ["auth"])
MAX_BYTES = 100_000


class Ring:
    """Keys as the client hands them to the wire."""

    def __init__(self, secrets: list[bytes] | None = None, x509: X509Keys | None = None, inner: str = "json") -> None:
        self.inner = inner
        self._hmac = HmacKeys(secrets or [OLD])
        self._x509 = x509

    def hmac(self) -> HmacKeys:
        return self._hmac

    def x509(self) -> X509Keys:
        assert self._x509 is not None
        return self._x509

    def sealing(self) -> SealingKeys:
        return SealingKeys([OLD])


# -- HMAC -------------------------------------------------------------------------------------------------------------


def test_hmac_comes_back() -> None:
    signed = serializers.dumps([1, "x"], "hmac", Ring(), SUBJECT)
    assert signed[:2] == HMAC[:2]
    assert serializers.loads(signed.data, *HMAC, Ring(), SUBJECT) == [1, "x"]


def test_the_bytes_are_as_documented() -> None:
    signed = serializers.dumps([1], "hmac", Ring(), SUBJECT)
    head, data = signed.data.split(b"\n", 1)
    version, key_id, content_type, encoding, signature = head.split(b" ")
    assert (version, content_type, encoding, data) == (b"celeriac-hmac-1", b"application/json", b"utf-8", b"[1]")
    assert key_id.decode() == hmac.new(OLD, b"celeriac-hmac-key-id", hashlib.sha256).hexdigest()[:16]
    covered = b"".join(
        len(part).to_bytes(8, "big") + part
        for part in (version, b"task", b"shop.add", b"id-1", content_type, encoding, data)
    )
    assert signature.decode() == hmac.new(OLD, covered, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "other", [Subject("task", "shop.pay", "id-1"), Subject("task", "shop.add", "id-2"), Subject("result", *SUBJECT[1:])]
)
def test_a_body_cannot_be_given_to_another_task(other: Subject) -> None:
    signed = serializers.dumps([1], "hmac", Ring(), SUBJECT).data
    with pytest.raises(SecurityError, match="signed for another task or id"):
        serializers.loads(signed, *HMAC, Ring(), other)


@given(st.data())
@quick(60)
def test_whatever_byte_is_changed_it_is_noticed(data: st.DataObject) -> None:
    signed = bytearray(serializers.dumps({"a": 1}, "hmac", Ring(), SUBJECT).data)
    at = data.draw(st.integers(0, len(signed) - 1))
    signed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SecurityError):
        serializers.loads(bytes(signed), *HMAC, Ring(), SUBJECT)


def test_a_key_can_be_changed_while_messages_are_under_way() -> None:
    before, during, after = Ring([OLD]), Ring([NEW, OLD]), Ring([NEW])
    old, new = (serializers.dumps([1], "hmac", ring, SUBJECT).data for ring in (before, during))
    assert serializers.loads(old, *HMAC, during, SUBJECT) == [1]
    assert serializers.loads(new, *HMAC, after, SUBJECT) == [1]
    with pytest.raises(SecurityError, match="unknown key"):
        serializers.loads(old, *HMAC, after, SUBJECT)


@pytest.mark.parametrize("data", [b"", b"[1]", b"celeriac-hmac-1 \n[1]", b"x" * 10_000, b"\n" * 100])
def test_what_is_not_signed_is_refused(data: bytes) -> None:
    with pytest.raises(SecurityError, match="not signed"):
        serializers.loads(data, *HMAC, Ring(), SUBJECT)


def test_unsigned_messages_are_refused_where_signatures_are_asked_for() -> None:
    for accept in (["hmac"], ["auth"], [CONTENT_TYPE], ["application/data"]):
        with pytest.raises(ContentDisallowed):
            serializers.loads(b"[1]", "application/json", "utf-8", accept, Ring(), SUBJECT)
    with pytest.raises(ContentDisallowed):
        serializers.loads(serializers.dumps([1], "hmac", Ring(), SUBJECT).data, CONTENT_TYPE, "", ["json"], Ring())


def test_a_signature_does_not_open_the_door_for_pickle() -> None:
    signed = serializers.dumps({1}, "hmac", Ring(inner="pickle"), SUBJECT).data
    with pytest.raises(ContentDisallowed):
        serializers.loads(signed, *HMAC, Ring(), SUBJECT)
    assert serializers.loads(signed, *HMAC, Ring(inner="pickle"), SUBJECT) == {1}
    assert serializers.loads(signed, *HMAC[:2], ["hmac", "pickle"], Ring(), SUBJECT) == {1}


def test_signed_twice_is_refused() -> None:
    once = serializers.dumps([1], "hmac", Ring(), SUBJECT)
    twice = Ring().hmac().wrap(SUBJECT, *once)
    with pytest.raises(ContentDisallowed):
        serializers.loads(twice, *HMAC, Ring(), SUBJECT)


@pytest.mark.parametrize(("keys", "text"), [([], "empty"), ([b"short"], "at least 16"), ([OLD, b""], "key 2 has 0")])
def test_weak_keys_are_refused(keys: list[bytes], text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=text):
        HmacKeys(keys)


def test_a_message_signed_by_hmac(monkeypatch: pytest.MonkeyPatch) -> None:
    call = task_v2.Call(id="id-1", task="shop.add", args=(1, 2), serializer="hmac", compression="gzip")
    message = task_v2.encode(call, now=0, max_bytes=MAX_BYTES, keys=Ring())
    assert task_v2.decode_body(message, ["hmac"], keys=Ring())[0] == [1, 2]
    # A retry keeps the body, or signs another one.
    again = task_v2.again(message, retries=1, not_before=5.0, body=None, origin="w")
    assert task_v2.decode_body(again, ["hmac"], keys=Ring())[0] == [1, 2]
    body = task_v2.encode_body(
        (3,), {}, task_v2.NOTHING_FOLLOWS, message.content_type, Ring(), task_v2.subject_of(message)
    )
    other = task_v2.again(message, retries=1, not_before=5.0, body=body, origin="w")
    assert task_v2.decode_body(other, ["hmac"], keys=Ring())[0] == [3]
    for header, value in (("task", "shop.pay"), ("id", "id-2")):
        moved = Message("q", {**message.headers, header: value}, message.body, {}, CONTENT_TYPE, "binary")
        with pytest.raises(SecurityError):
            task_v2.decode_body(moved, ["hmac"], keys=Ring())


def test_signed_results() -> None:
    form = ResultFormat(serializer="hmac", accept=("hmac",), compression="gzip", keys=Ring())
    payload = result_meta.encode(ResultMeta(status="SUCCESS", result=[1], task_id="i"), max_bytes=MAX_BYTES, form=form)
    assert result_meta.decode(payload, form).result == [1]
    with pytest.raises(SecurityError):
        result_meta.decode(payload, ResultFormat(serializer="hmac", accept=("hmac",), keys=Ring([NEW])))
    plain = result_meta.encode(ResultMeta(status="SUCCESS", result=[1], task_id="i"), max_bytes=MAX_BYTES)
    with pytest.raises(ContentDisallowed):
        result_meta.decode(plain, form)


def test_keys_are_needed() -> None:
    for name in ("hmac", "auth"):
        with pytest.raises(EncodeError, match="needs keys"):
            serializers.dumps([1], name)
    with pytest.raises(DecodeError, match="needs keys"):
        serializers.loads(b"", *HMAC)


# -- X.509 ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop() -> Identity:
    return Identity("shop")


def keys_of(identity: Identity | None, *trusted: Identity, now: float | None = None, **more: Any) -> X509Keys:
    return X509Keys(
        key=identity.key if identity else None,
        password=more.pop("password", None),
        certificate=identity.certificate if identity else None,
        store=[(one.name, one.certificate) for one in trusted],
        digest=more.pop("digest", "sha256"),
        clock=lambda: time.time() if now is None else now,
    )


def test_auth_comes_back(shop: Identity) -> None:
    ring = Ring(x509=keys_of(shop, shop))
    signed = serializers.dumps([1, "x"], "auth", ring, SUBJECT)
    assert signed[:2] == AUTH[:2]
    assert serializers.loads(signed.data, *AUTH, ring, SUBJECT) == [1, "x"]


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_auth_is_celerys(shop: Identity, tmp_path: Path, digest: str) -> None:
    shop.write(tmp_path)
    theirs = SecureSerializer(
        PrivateKey(shop.key), Certificate(shop.certificate), FSCertStore(str(tmp_path / "*.pem")), digest
    )
    ring = Ring(x509=keys_of(shop, shop, digest=digest))
    value = ([1, "ä"], {"a": None}, {"callbacks": None})
    assert theirs.deserialize(serializers.dumps(value, "auth", ring).data) == [list(value[0]), *value[1:]]
    assert serializers.loads(theirs.serialize(value).encode(), *AUTH, ring) == [list(value[0]), *value[1:]]


def test_a_body_that_was_changed(shop: Identity) -> None:
    ring = Ring(x509=keys_of(shop, shop))
    fields = base64.b64decode(serializers.dumps([1], "auth", ring).data)
    assert fields.endswith(b"[1]")
    with pytest.raises(SecurityError, match="the body was changed"):
        serializers.loads(base64.b64encode(fields[:-3] + b"[2]"), *AUTH, ring)


def test_a_stranger_is_refused(shop: Identity) -> None:
    stranger = Ring(x509=keys_of(Identity("stranger")))
    with pytest.raises(SecurityError, match=r"unknown certificate, 'DE stranger \d+'"):
        serializers.loads(serializers.dumps([1], "auth", stranger).data, *AUTH, Ring(x509=keys_of(None, shop)))


def test_an_impostor_is_refused(shop: Identity) -> None:
    stranger = keys_of(Identity("stranger"))
    stranger._signer = keys_of(shop)._signer
    with pytest.raises(SecurityError, match="does not hold"):
        serializers.loads(
            serializers.dumps([1], "auth", Ring(x509=stranger)).data, *AUTH, Ring(x509=keys_of(None, shop))
        )


@pytest.mark.parametrize(("days", "text"), [(31, "has expired on"), (-2, "is not valid before")])
def test_certificates_hold_for_their_time(shop: Identity, days: int, text: str) -> None:
    data = serializers.dumps([1], "auth", Ring(x509=keys_of(shop, shop))).data
    then = time.time() + days * 86_400
    with pytest.raises(SecurityError, match=text):
        serializers.loads(data, *AUTH, Ring(x509=keys_of(None, shop, now=then)))
    with pytest.raises(ImproperlyConfigured, match=text):
        keys_of(shop, now=then)


@pytest.mark.parametrize(
    "data", [b"", b"[1]", b"!", base64.b64encode(b"a\x00\x01b"), base64.b64encode(b"\x00\x01" * 9)]
)
def test_what_is_not_in_the_form_of_auth_is_refused(shop: Identity, data: bytes) -> None:
    with pytest.raises(SecurityError):
        serializers.loads(data, *AUTH, Ring(x509=keys_of(shop, shop)))


RSA_KEY = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
"""How a certificate says of which kind its key is (rsaEncryption)."""


def changed(certificate: bytes, there: bytes, damaged: bytes) -> bytes:
    """A certificate whose form is right, and something in it is not."""
    head, *lines, foot = certificate.strip().splitlines()
    found = base64.b64decode(b"".join(lines))
    assert there in found
    return b"\n".join((head, base64.b64encode(found.replace(there, damaged)), foot, b""))


def test_keys_that_cannot_be_used(shop: Identity) -> None:
    locked, other = Identity("locked", password=PASSWORD), Identity("other")
    keys_of(locked, password=PASSWORD)
    with pytest.raises(ImproperlyConfigured, match="password"):
        keys_of(locked, password=b"wrong")
    with pytest.raises(ImproperlyConfigured, match="twice"):
        keys_of(shop, shop, shop)
    with pytest.raises(ImproperlyConfigured, match="name a hash"):
        keys_of(shop, digest="sha257")
    shared: dict[str, Any] = {"password": None, "store": [], "digest": "sha256", "clock": time.time}
    with pytest.raises(ImproperlyConfigured, match="do not belong together"):
        X509Keys(key=shop.key, certificate=other.certificate, **shared)
    with pytest.raises(ImproperlyConfigured, match="RSA"):
        X509Keys(key=elliptic_key(), certificate=None, **shared)
    with pytest.raises(ImproperlyConfigured, match="no certificate in PEM"):
        X509Keys(key=shop.key, certificate=b"nonsense", **shared)
    for there, damaged in (
        (RSA_KEY, b"\x26" + RSA_KEY[1:]),
        (RSA_KEY + b"\x05\x00\x03", RSA_KEY + b"\x05\x00\x40"),
        (b"DE", b"\xff\xff"),
    ):
        with pytest.raises(
            ImproperlyConfigured, match="security_certificate is no certificate in PEM that can be read"
        ):
            X509Keys(key=None, certificate=changed(shop.certificate, there, damaged), **shared)
    with pytest.raises(EncodeError, match="security_key"):
        serializers.dumps([1], "auth", Ring(x509=keys_of(None, shop)))
