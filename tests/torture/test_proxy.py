"""The proxy does to connections what networks do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from celeriac.torture.servers.proxy import Proxy
from celeriac.torture.servers.service import HOST, wait_until

PATIENCE_S = 30.0
SILENCE_S = 0.2


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says back what it hears."""
    listening = socket.create_server((HOST, 0))

    def answer(one: socket.socket) -> None:
        with one, contextlib.suppress(OSError):
            while data := one.recv(1000):
                one.sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(PATIENCE_S)


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=PATIENCE_S)


def says_back(connection: socket.socket, text: bytes, within_s: float = PATIENCE_S) -> bool:
    connection.sendall(text)
    connection.settimeout(within_s)
    try:
        return connection.recv(1000) == text
    except TimeoutError:
        return False


def test_connections_pass_freeze_die_silently_and_are_cut(echo: int) -> None:
    with Proxy(echo) as proxy, connect(proxy) as first, connect(proxy) as second:
        assert proxy.url("redis://user:word@elsewhere:1/2") == f"redis://user:word@{HOST}:{proxy.port}/2"
        proxy.delay_s = 0.01
        assert says_back(first, b"passed")
        proxy.freeze()
        assert not says_back(first, b"kept", SILENCE_S)
        proxy.thaw()
        first.settimeout(PATIENCE_S)
        assert first.recv(1000) == b"kept"
        proxy.kill_silently()
        assert not says_back(first, b"swallowed", SILENCE_S)
        with connect(proxy) as third:
            assert says_back(third, b"new")
            proxy.cut()
            with pytest.raises(ConnectionError):
                while third.recv(1000):
                    pass
                raise ConnectionError("closed")
        wait_until(lambda: proxy.connections == 0, "all are closed")
        assert second.fileno() > 0


def test_new_connections_are_swallowed_and_those_to_nobody_closed(echo: int) -> None:
    with Proxy(echo) as proxy:
        proxy.swallow()
        with connect(proxy) as connection:
            assert not says_back(connection, b"anybody?", SILENCE_S)
        proxy.swallow(False)
        with connect(proxy) as connection:
            assert says_back(connection, b"again")
    with Proxy(1) as nobody, connect(nobody) as connection, contextlib.suppress(ConnectionError):
        assert connection.recv(1000) == b""
