"""Whatever is wrong with a broker: `delay`, `adelay` and calls out of tasks end with a typed error by their deadline.

Of a RabbitMQ that is there: test_amqp_faults.py.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from celeriac.exceptions import BrokerUnavailable, PublishTimeout
from celeriac.testing.broker_base import make_message
from tests.brokers.callers import DEADLINE_S, program, raised_by, raised_in_a_task, send_in_each_way, task_of
from tests.services import PrivateRedis, free_port

SCHEMES = ("redis", "amqp")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that does not even answer who wants to connect, as behind a firewall that swallows everything."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]  # there is no room for more behind these
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        yield port
        for one in waiting:
            one.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_closed_port(scheme: str) -> None:
    app = program(f"{scheme}://127.0.0.1:{free_port()}")
    assert send_in_each_way(app) == [BrokerUnavailable] * 3
    app.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_port_that_never_answers(scheme: str, silent_port: int) -> None:
    app = program(f"{scheme}://127.0.0.1:{silent_port}")
    assert send_in_each_way(app) == [BrokerUnavailable] * 3
    app.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_address_that_swallows_everything(scheme: str, deaf_port: int) -> None:
    app = program(f"{scheme}://127.0.0.1:{deaf_port}")
    assert send_in_each_way(app) == [BrokerUnavailable] * 3
    app.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_name_without_an_address(scheme: str) -> None:
    app = program(f"{scheme}://nowhere.invalid")
    assert raised_by(lambda: task_of(app).delay("x")) is BrokerUnavailable
    app.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_name_server_that_never_answers(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = program(f"{scheme}://broker.example")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3 * DEADLINE_S))
    with pytest.raises(BrokerUnavailable, match=r"'broker\.example' was not resolved within the time"):
        app.broker.producer().publish([make_message()], 0.2)
    assert raised_by(lambda: task_of(app).delay("x")) is BrokerUnavailable
    app.close()


def test_a_redis_that_freezes(own_redis: PrivateRedis) -> None:
    app = program(own_redis.url)
    task_of(app).delay("it works")
    own_redis.freeze()
    send_in_each_way(app)
    own_redis.thaw()
    assert issubclass(raised_in_a_task(app, own_redis.freeze, own_redis.thaw), BrokerUnavailable)
    app.close()


def test_a_redis_that_is_full(needs_redis: None) -> None:
    with PrivateRedis(options=("--maxmemory", "1kb")) as server:  # less than it needs for itself
        app = program(server.url)
        with pytest.raises(BrokerUnavailable, match="is full"):
            task_of(app).delay("x")
        assert PublishTimeout not in send_in_each_way(app)
        app.close()
