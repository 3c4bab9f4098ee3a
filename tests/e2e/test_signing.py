"""Signed messages through a real worker: what is tampered with, moved or unsigned is parked with the reason."""

from __future__ import annotations

import base64
import copy
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from celeriac import Celeriac, chord
from celeriac.client.signing import sign_messages
from celeriac.core.message import Message
from celeriac.exceptions import ContentDisallowed, ImproperlyConfigured, TaskRevokedError
from celeriac.security import setup_security
from celeriac.wire import message_signature
from tests.e2e.harness import DEADLINE_S, Guard, Place
from tests.e2e.test_arguments import PROGRAM, Shop
from tests.services import PrivateRedis
from tests.wire.certificates import PASSWORD, Identity

SIGNED = {
    "task_serializer": "hmac",
    "accept_content": ["hmac"],
    "result_serializer": "hmac",
    "security_hmac_key": "a key of sixteen bytes or more",
}
OTHER_KEY = "another key of sixteen bytes"


def put(shop: Shop, message: Message, *, signer: Celeriac | None = None, **changes: Any) -> None:
    """Publish a message as its sender signs it, with changes to its headers made after that."""
    message.queue = message.queue if message.queue.startswith("another") else shop.scene.queue
    sign_messages(signer or shop.app, [message])
    put_as_it_is(shop, message, **changes)


def put_as_it_is(shop: Shop, message: Message, **changes: Any) -> None:
    """Publish a message with changes to its headers; `...` leaves header out."""
    message.headers = {name: value for name, value in {**message.headers, **changes}.items() if value is not ...}
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
    put(shop, message_of(shop.app, "echo", key), task=f"{PROGRAM}.noted")
    put(shop, message_of(shop.app, "noted", key), id="11111111-2222-3333-4444-555555555555")
    # Not even that it has expired is believed.
    put(shop, message_of(shop.app, "noted", key), expires="2020-01-01T00:00:00+00:00")
    changed = message_of(shop.app, "noted", "x" * len(key))
    sign_messages(shop.app, [changed])
    changed.body = changed.body.replace(b"x" * len(key), key.encode())
    put_as_it_is(shop, changed)
    stranger = shop.make_app(**{**SIGNED, "security_hmac_key": "a third key that nobody knows"})
    put(shop, message_of(stranger, "noted", key), signer=stranger)
    unsigned = shop.make_app(result_serializer="json")
    put(shop, message_of(unsigned, "noted", key), signer=unsigned)
    put(shop, message_of(shop.app, "noted", key), celeriac_signature=...)
    elsewhere = message_of(shop.app, "noted", key)
    elsewhere.queue = "another queue"
    put(shop, elsewhere)
    old = message_of(shop.app, "noted", key)
    old.queue = shop.scene.queue
    message_signature.sign(old, shop.app.content.keys.hmac(), time.time() - 100_000, "0" * 32)
    put_as_it_is(shop, old)
    told = reasons(shop, 9)
    assert told.count("SecurityError: the signature of the message does not hold") == 4, told
    assert told.count("SecurityError: signed with the unknown key") == 1
    assert told.count("SecurityError: not signed") == 2
    assert told.count("SecurityError: signed for queue 'another queue' and found in") == 1
    assert told.count("SecurityError: signed too long ago") == 1
    assert shop.get("echo", 2) == 2
    assert shop.scene.journal.ends(key) == 0
    stranger.close()
    unsigned.close()


def test_copies_of_completed_messages_and_unsigned_control(shop: Shop) -> None:
    worker = shop.scene.worker("-c", "1", settings=shop.settings)
    key = shop.scene.key("copied")
    message = message_of(shop.app, "noted", key)
    recorded = copy.deepcopy(message)
    put(shop, recorded)
    shop.scene.until_done([key])
    assert shop.get("echo", 1) == 1  # settled after the other, so that one is known to be done
    put_as_it_is(shop, recorded)
    shop.scene.until(
        lambda: f"[{message.id}] is dropped: this very message was completed already" in worker.log, "a copy"
    )
    # The same call signed anew is another message.
    put(shop, message)
    shop.scene.until(lambda: shop.scene.journal.ends(key) == 2, "it runs again")
    # Whoever has no key can revoke nothing, and set no rate.
    stranger = shop.make_app()
    ids = [str(uuid.uuid4()) for _ in range(2)]
    shop.app.control.revoke(ids[1])
    stranger.control.revoke(ids[0])
    assert worker.terminate() == 0
    worker = shop.scene.worker("-c", "1", settings=shop.settings)  # has heard of both before it claims anything
    assert "a revocation is ignored: it is not signed" in worker.log
    assert shop.get("echo", 1, task_id=ids[0]) == 1
    revoked = shop.call("echo", 1, task_id=ids[1])
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=DEADLINE_S)
    stranger.close()


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


SEALED = {
    "task_serializer": "sealed",
    "accept_content": ["sealed"],
    "result_serializer": "sealed",
    "result_extended": True,
    "security_sign_messages": True,
    "security_hmac_key": SIGNED["security_hmac_key"],
    "security_encryption_key": "a key of sixteen bytes or more",
}
SECRET = "4111-1111-1111-1111"


def test_sealed_arguments_and_results(place: Place, guard: Guard, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# the new one\n{OTHER_KEY}\n\n{SEALED['security_encryption_key']}\n")
    shop = Shop(place, guard, **SEALED)
    try:
        worker = shop.scene.worker(
            "-c", "1", settings={**SEALED, "security_encryption_key": None, "security_encryption_key_file": str(keys)}
        )
        shop.app.conf.security_encryption_key = [SEALED["security_encryption_key"], OTHER_KEY]
        tasks = {name: shop.app.tasks[f"{PROGRAM}.{name}"].s().set(queue=shop.scene.queue) for name in ("echo", "pair")}
        linked = shop.app.tasks[f"{PROGRAM}.echo"].s(SECRET).set(queue=shop.scene.queue) | tasks["pair"]
        assert linked.apply_async().get(timeout=DEADLINE_S) == [SECRET, None]
        assert shop.get("echo_twice", SECRET) == SECRET * 2
        if shop.app.backend.counts_chords:
            members = [shop.app.tasks[f"{PROGRAM}.echo"].s(part).set(queue=shop.scene.queue) for part in (SECRET, 2)]
            assert chord(members)(tasks["echo"]).get(timeout=DEADLINE_S) == [SECRET, 2]
        if isinstance(place.server, PrivateRedis):
            assert SECRET.encode() not in b"".join(file.read_bytes() for file in place.server.directory.rglob("*.aof"))
        # Nobody who has no key, or another one, is waited for.
        stranger = shop.make_app(**{**SEALED, "security_encryption_key": "a third key that nobody knows"})
        put(shop, message_of(stranger, "echo", SECRET))
        assert "SecurityError: sealed with the unknown key" in shop.parked()
        assert shop.get("echo", 2) == 2
        assert SECRET not in worker.log
        stranger.close()
    finally:
        shop.close()
