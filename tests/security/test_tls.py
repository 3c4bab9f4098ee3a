"""TLS to brokers: certificate and name are verified unless somebody says otherwise, and what is refused is told with its cure."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from celeriac import Celeriac
from celeriac.cli.cautions import cautions
from celeriac.exceptions import BrokerUnavailable
from tests.services import PrivateRabbit, PrivateRedis, free_port
from tests.wire.certificates import Authority


class Server(Struct):
    """A broker that speaks TLS, with a certificate for `localhost` and no other name."""

    url: str
    """With {host} in it."""
    ca_option: str
    ca_file: str
    unverified: str
    """What of the URL switches verification off."""


@pytest.fixture(params=["redis", "rabbitmq"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    ca, certificate, key = Authority().write_server(tmp_path, "localhost")
    port = free_port()
    if request.param == "redis":
        request.getfixturevalue("needs_redis")
        files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", ca)
        with PrivateRedis(options=("--tls-port", str(port), *files, "--tls-auth-clients", "no")):
            yield Server(f"rediss://{{host}}:{port}/0", "ssl_ca_certs", ca, "ssl_cert_reqs=none")
        return
    rabbit: PrivateRabbit = request.getfixturevalue("rabbit_server")
    vhost = rabbit.borrow()
    rabbit.evaluate(
        f"""
        rabbit_networking:ensure_ssl(),
        Options = [{{cacertfile, "{ca}"}}, {{certfile, "{certificate}"}}, {{keyfile, "{key}"}}, {{verify, verify_none}}],
        Given = [{{"127.0.0.1", {port}}}, Options, 2],
        case erlang:function_exported(rabbit_networking, start_ssl_listener, 3) of
            true -> apply(rabbit_networking, start_ssl_listener, Given);
            false -> apply(rabbit_networking, start_ssl_listener, Given ++ [1])
        end.
        """
    )
    yield Server(f"amqps://guest:guest@{{host}}:{port}/{vhost}", "cacertfile", ca, "verify=verify_none")
    rabbit.evaluate(f'rabbit_networking:stop_ranch_listener_of_protocol("amqp/ssl"), {port}.')
    rabbit.give_back(vhost)


def enter(url: str, **settings: Any) -> None:
    """Enter by both ways there are, the client's and the worker's core's; both must say the same."""
    errors: list[str] = []
    with Celeriac("tls", broker=url, **settings) as app:
        admin, made = app.broker.admin(), app.broker.consumer

        async def open_core() -> None:
            consumer = made()
            try:
                await consumer.open("one", ["q"])
                await consumer.release()
            finally:
                await consumer.close()

        ways: list[Callable[[], None]] = [lambda: admin.declare(["q"]), lambda: asyncio.run(open_core())]
        for enter_here in ways:
            try:
                enter_here()
            except BrokerUnavailable as error:
                errors.append(str(error))
        admin.close()
    assert len(errors) in (0, 2), errors
    if errors:
        assert errors[0].partition(": ")[2] == errors[1].partition(": ")[2]
        raise BrokerUnavailable(errors[0])


def test_who_is_let_in(server: Server) -> None:
    trusting = f"{server.url}?{server.ca_option}={server.ca_file}"
    enter(trusting.format(host="localhost"))
    with pytest.raises(BrokerUnavailable, match=r"certificate is not accepted: .*; write the name in the URL that the"):
        enter(trusting.format(host="127.0.0.1"))
    with pytest.raises(
        BrokerUnavailable, match=rf"certificate is not accepted: .* {server.ca_option}=/path/to/ca\.pem"
    ):
        enter(server.url.format(host="localhost"))
    # Whoever says so is let in unverified, in our way and in both of Celery's.
    enter(f"{server.url}?{server.unverified}".format(host="127.0.0.1"))
    kind = "redis" if server.url.startswith("rediss") else "amqp"
    plain = server.url.format(host="127.0.0.1").replace(f"{kind}s://", f"{kind}://")
    enter(plain, broker_use_ssl={"cert_reqs": ssl.CERT_NONE})
    enter(
        plain.replace("127.0.0.1", "localhost"),
        broker_use_ssl={"ca_certs": server.ca_file, "cert_reqs": ssl.CERT_REQUIRED},
    )


def test_a_server_that_does_not_speak_it(rabbit_url: str) -> None:
    with pytest.raises(BrokerUnavailable, match=r"it does not speak TLS on this port: correct the port, or the scheme"):
        enter(rabbit_url.replace("amqp://", "amqps://"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost/0", []),
        ("redis://127.8.8.8/0", []),
        ("redis://[::1]/0", []),
        ("unix:///run/redis.sock", []),
        ("sqlite:///x.db", []),
        ("db+postgresql://far/x", []),
        ("rediss://:x@far/0", []),
        ("amqps://me:x@far//", []),
        ("redis://far/0", ["without TLS.*; use rediss://", "without a password"]),
        ("redis://:secret@10.0.0.1/0", ["without TLS"]),
        ("rediss://:secret@far/0?ssl_cert_reqs=none", ["not verified"]),
        ("rediss://:secret@far/0?ssl_check_hostname=false", ["the name in its TLS certificate is not checked"]),
        ("amqp://me:secret@far//", ["without TLS.*; use amqps://"]),
        ("amqp://far//", ["without TLS", "as 'guest', whom everybody knows"]),
        ("amqps://guest:guest@far//?verify=verify_none", ["not verified", "as 'guest'"]),
        ("sentinel://:secret@far:26379;sentinel://:secret@localhost:26379", ["without TLS.*ssl=true"]),
        ("redis://far:x@y:z/0", ["without TLS"]),
    ],
)
def test_what_a_worker_says_of_its_servers(url: str, expected: list[str]) -> None:
    said = list(cautions("broker", url))
    assert len(said) == len(expected), said
    for line, pattern in zip(said, expected, strict=True):
        assert re.search(pattern, line)
        assert "secret" not in line
