"""Signed messages through a real worker: what is tampered with, moved or unsigned is parked with the reason."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from celeriac import Celeriac
from celeriac.core.message import Message
from celeriac.exceptions import ContentDisallowed, ImproperlyConfigured
from celeriac.security import setup_security
from tests.e2e.harness import DEADLINE_S, Guard, Place
from tests.e2e.test_arguments import PROGRAM, Shop
from tests.wire.certificates import PASSWORD, Identity

SIGNED = {
    "task_serializer": "hmac",
    "accept_content": ["hmac"],
    "result_serializer": "hmac",
    "security_hmac_key": "a key of sixteen bytes or more",
}
OTHER_KEY = "another key of sixteen bytes"


def put(shop: Shop, message: Message, **changes: Any) -> None:
    """Publish a message as it is, with changes to its headers."""
    for name, value in changes.items():
        message.headers[name] = value
    message.queue = shop.scene.queue
    producer = shop.app.broker.producer()
    producer.publish([message], 10.0)
    producer.close()


def message_of(app: Celeriac, task: str, *args: Any, **options: Any) -> Message:
    return app.message(f"{PROGRAM}.{task}", args, None, options)


def reasons(shop: Shop, count: int) -> str:
    return "\n".join(letter.reason for letter in shop.scene.until_parked(count))


@pytest.fixture(autouse=True)
def _with_servers_only(request: pytest.FixtureRequest) -> None:
    """Nothing of this depends on the broker; two of three have to do."""
    if "place" in request.fixturenames and request.getfixturevalue("place").name == "sqlite":
        pytest.skip("as with the others")


@pytest.fixture
def shop(place: Place, guard: Guard) -> Iterator[Shop]:
    shop = Shop(place, guard, **SIGNED)
    yield shop
    shop.close()


def test_messages_signed_by_hmac(shop: Shop) -> None:
    # On the way from one key to another: the worker signs with the new one already.
    shop.worker("-c", "1", security_hmac_key=[OTHER_KEY, SIGNED["security_hmac_key"]])
    shop.app.conf.security_hmac_key = [SIGNED["security_hmac_key"], OTHER_KEY]
    assert shop.get("echo", {"a": 1}) == {"a": 1}
    # A retry, and a retry with other arguments, in a body that the worker signs.
    assert shop.get("echo_twice", [1], compression="gzip") == [1, 1]
    key = shop.scene.key("forged")
    body_of_another = message_of(shop.app, "echo", key)
    put(shop, body_of_another, task=f"{PROGRAM}.noted")
    put(shop, message_of(shop.app, "noted", key), id="11111111-2222-3333-4444-555555555555")
    changed = message_of(shop.app, "noted", "x" * len(key))
    changed.body = changed.body.replace(b"x" * len(key), key.encode())
    put(shop, changed)
    stranger = shop.make_app(**{**SIGNED, "security_hmac_key": "a third key that nobody knows"})
    put(shop, message_of(stranger, "noted", key))
    unsigned = shop.make_app(result_serializer="json")
    put(shop, message_of(unsigned, "noted", key))
    told = reasons(shop, 5)
    assert told.count("SecurityError: the signature does not hold") == 3
    assert told.count("SecurityError: signed with the unknown key") == 1
    assert told.count("ContentDisallowed") == 1
    assert shop.get("echo", 2) == 2
    assert shop.scene.journal.ends(key) == 0
    stranger.close()
    unsigned.close()


def test_messages_signed_by_certificates(place: Place, guard: Guard, tmp_path: Path) -> None:
    shop_identity, old = Identity("shop", password=PASSWORD), Identity("old", valid=(-3, -1))
    key, certificate = shop_identity.write(tmp_path)
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "shop.pem").write_bytes(shop_identity.certificate)
    (trusted / "old.pem").write_bytes(old.certificate)
    settings = {
        "task_serializer": "auth",
        "accept_content": ["auth"],
        "result_serializer": "auth",
        "security_key": key,
        "security_key_password": PASSWORD.decode(),
        "security_certificate": certificate,
        "security_cert_store": str(trusted / "*.pem"),
    }
    shop = Shop(place, guard, **settings)
    try:
        shop.worker()
        assert shop.get("pair", 1, "x") == [1, "x"]
        assert shop.get("echo_twice", "a") == "aa"
        forged = shop.scene.key("forged")
        tampered = message_of(shop.app, "noted", "x" * len(forged))
        tampered.body = base64.b64encode(base64.b64decode(tampered.body).replace(b"x" * len(forged), forged.encode()))
        put(shop, tampered)
        assert "does not hold: the body was changed" in reasons(shop, 1)
        mine = shop.app.content.keys.x509()
        stranger = Identity("stranger")
        for identity in (stranger, old):
            mine._key, mine._signer = identity._key, f"DE {identity.name} {_serial(identity)}"
            put(shop, message_of(shop.app, "noted", forged))
        told = reasons(shop, 3)
        assert "SecurityError: signed with an unknown certificate, 'DE stranger" in told
        assert "SecurityError: signed with the certificate 'DE old" in told
        assert "has expired on" in told
        plain = shop.make_app()
        put(shop, message_of(plain, "noted", forged))
        assert "ContentDisallowed" in reasons(shop, 4)
        assert shop.scene.journal.ends(forged) == 0
        plain.close()
    finally:
        shop.close()


def _serial(identity: Identity) -> int:
    return x509.load_pem_x509_certificate(identity.certificate).serial_number


def test_setup_security_checks_everything_at_once(tmp_path: Path) -> None:
    key, certificate = Identity("shop").write(tmp_path)
    with Celeriac("x", broker="memory://") as app:
        with pytest.raises(ImproperlyConfigured, match="task_serializer = 'auth'"):
            app.setup_security(key=key, cert=certificate, store=certificate)
        app.conf.update(task_serializer="auth", accept_content=["auth"])
        with pytest.raises(ImproperlyConfigured, match="security_cert_store"):
            app.setup_security(key=key, cert=certificate)
        with pytest.raises(ImproperlyConfigured, match="there is no such file"):
            app.setup_security(key=key, cert=certificate, store=str(tmp_path / "no*.pem"))
        with pytest.raises(ImproperlyConfigured, match=r"no\.key can't be read: No such file"):
            app.setup_security(key=str(tmp_path / "no.key"), cert=certificate, store=certificate)
        setup_security(app=app, key=key, cert=certificate, store=str(tmp_path / "*.pem"), digest="sha512")
        message = app.message("x.y", (1,))
        assert message.content_type == "application/data"
    with Celeriac("x", broker="memory://", task_serializer="hmac", accept_content=["hmac"]) as app:
        with pytest.raises(ImproperlyConfigured, match="security_hmac_key"):
            app.setup_security()
        app.conf.security_hmac_key = 17
        with pytest.raises(ImproperlyConfigured, match="not int"):
            app.setup_security()
        app.conf.security_hmac_key = [b"\x00" * 32, "old key of the cluster"]
        app.setup_security()
        assert app.message("x.y", (1,)).content_type == "application/x-celeriac-hmac"


def test_a_result_that_was_not_signed_is_refused(shop: Shop) -> None:
    if shop.scene.place.name == "rabbitmq":
        pytest.skip("replies are not stored, and so not replaced")
    shop.worker(result_serializer="json", result_accept_content=["json"])
    result = shop.call("echo", 1)
    with pytest.raises(ContentDisallowed):
        result.get(timeout=DEADLINE_S)
