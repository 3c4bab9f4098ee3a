"""Redis URLs: what they may say, what is refused, and that they are never shown with their password."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from celeriac.brokers.redis.keys import Keys
from celeriac.exceptions import BrokerUnavailable, ImproperlyConfigured
from celeriac.testing.broker_base import QUEUE, make_message
from celeriac.transports.redis.address import Tls, parse_address
from celeriac.transports.redis.results import ResultKeys
from tests.brokers.redis_worker import DEADLINE_S, claim_all, opened, publish, redis_broker
from tests.services import PrivateRedis, ServiceError, free_port


def test_the_parts_of_a_url() -> None:
    address = parse_address("redis://shop:p%40ss@db.example:6380/3")
    assert (address.host, address.port, address.db) == ("db.example", 6380, 3)
    assert address.credentials() == ["AUTH", "shop", "p@ss"]
    assert address.shown == "redis://shop:**@db.example:6380/3"
    assert parse_address("redis://:only@h").credentials() == ["AUTH", "default", "only"]
    bare = parse_address("redis://")
    assert (bare.host, bare.port, bare.db, bare.credentials(), bare.tls) == ("localhost", 6379, 0, [], None)
    assert parse_address("redis://[::1]:7000/1").host == "::1"
    assert parse_address("redis://h?db=4").db == 4


@pytest.mark.parametrize("url", ["redis+socket:///run/redis.sock?virtual_host=2", "unix:///run/redis.sock?db=2"])
def test_sockets(url: str) -> None:
    address = parse_address(url)
    assert (address.path, address.db) == ("/run/redis.sock", 2)


def test_tls_verifies_unless_told_otherwise() -> None:
    assert parse_address("rediss://h").tls == Tls()
    assert Tls().context().verify_mode == ssl.CERT_REQUIRED
    assert Tls().context().check_hostname
    for word in ("CERT_NONE", "none"):
        tls = parse_address(f"rediss://h/0?ssl_cert_reqs={word}").tls
        assert tls is not None
        assert tls.context().verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("amqp://:secret@h", "the scheme may be redis"),
        ("redis://:secret@h/zero", "the database must be a number"),
        ("redis://:secret@h:port/0", "the port is no number"),
        ("redis://:secret/secret@h/0", "the port is no number"),
        ("redis://:a?secret@h/0", "unknown parameter; known"),
        ("redis://:[secret@h/0", "this is no URL"),
        ("redis://:secret@secret@h/zero", "the database must be a number"),
        ("redis://:secret@h/0?sll_cert_reqs=none", "unknown parameter 'sll_cert_reqs'"),
        ("rediss://:secret@h/0?ssl_cert_reqs=maybe", "ssl_cert_reqs may be"),
        ("redis://:secret@h/0;redis://:secret@i/0", "one Redis URL is wanted"),
        ("unix://", "the path of the socket is missing"),
    ],
)
def test_a_bad_url_is_named_without_its_password(url: str, complaint: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=complaint) as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)


def test_an_address_shows_itself_without_its_password() -> None:
    address = parse_address("redis://shop:secret@h/0")
    assert repr(address) == "Address('redis://shop:**@h/0')"
    assert address.__rich_repr__() == [("shown", "redis://shop:**@h/0")]


def test_files_that_are_not_there_are_named() -> None:
    tls = parse_address("rediss://h/0?ssl_ca_certs=/nowhere/ca.pem").tls
    assert tls is not None
    with pytest.raises(ImproperlyConfigured, match=r"/nowhere/ca\.pem"):
        tls.context()


def test_priorities_choose_lists_as_kombu_does() -> None:
    keys = Keys({})
    names = [keys.list_for("q", priority) for priority in (0, 2, 3, 5, 8, 9, 200, -1)]
    steps = [3, 3, 6, 9, 9]
    assert names == ["q", "q", *(f"q\x06\x16{step}" for step in steps), "q"]
    assert [keys.queue_of(name) for name in keys.lists("q")] == ["q"] * 4
    prefixed = Keys({"global_keyprefix": "p:", "sep": "-", "priority_steps": [0, 1]})
    assert prefixed.lists("a-b") == ["p:a-b", "p:a-b-1"]
    assert [prefixed.queue_of(name) for name in prefixed.lists("a-b")] == ["a-b"] * 2


@pytest.mark.parametrize("options", [{"sep": 1}, {"priority_steps": []}, {"priority_steps": "0369"}])
def test_bad_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(ImproperlyConfigured, match=next(iter(options))):
        Keys(options)


@pytest.mark.parametrize(
    ("prefix", "head"), [("", ""), ("a", "a_"), ("a_", "a_"), ("a:", "a:"), ("a.", "a."), ("a-", "a-")]
)
def test_result_keys_are_celerys(prefix: str, head: str) -> None:
    assert ResultKeys({"global_keyprefix": prefix}).task("id") == f"{head}celery-task-meta-id"


# -- a server with TLS -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls_server(needs_redis: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a Redis that speaks TLS for 127.0.0.1, and the certificate that says so."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl not found")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate, port = folder / "key.pem", folder / "certificate.pem", free_port()
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=redis.test"
    names = f"-addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    subprocess.run([*request.split(), *names.split()], check=True, capture_output=True)
    options = f"--tls-port {port} --tls-cert-file {certificate} --tls-key-file {key} --tls-auth-clients no"
    try:
        with PrivateRedis(options=options.split()):
            yield port, certificate
    except ServiceError as error:
        pytest.skip(f"this redis-server was built without TLS: {error}"[:300])


def test_tls(tls_server: tuple[int, Path]) -> None:
    port, certificate = tls_server
    for parameters in (f"ssl_ca_certs={certificate}", "ssl_cert_reqs=none"):
        url = f"rediss://127.0.0.1:{port}/0?{parameters}"
        producer = redis_broker(url).producer()
        producer.publish([make_message()], DEADLINE_S)
        producer.publish([make_message()], DEADLINE_S)
        producer.close()

        async def scenario(url: str = url) -> None:
            async with opened(url) as consumer:
                assert len(await claim_all(consumer, 2)) == 2
                await consumer.release()

        asyncio.run(scenario())
        with redis.Redis.from_url(url) as client:
            client.flushdb()


def test_an_unknown_certificate_is_refused(tls_server: tuple[int, Path]) -> None:
    port, _ = tls_server
    producer = redis_broker(f"rediss://127.0.0.1:{port}/0").producer()
    with pytest.raises(BrokerUnavailable, match="its TLS certificate is not accepted: self-signed certificate"):
        producer.publish([make_message()], DEADLINE_S)
    with pytest.raises(BrokerUnavailable, match="self-signed certificate"):
        asyncio.run(redis_broker(f"rediss://127.0.0.1:{port}/0").consumer().open("test@0", [QUEUE]))


def test_a_socket(needs_redis: None, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with PrivateRedis(options=("--unixsocket", str(path))):
        url = f"unix://{path}?db=3"
        publish(url, [make_message()])

        async def scenario() -> None:
            async with opened(url) as consumer:
                assert len(await claim_all(consumer, 1)) == 1

        asyncio.run(scenario())
