"""`redis_durability="fsync"` on servers that have WAITAOF: the bytes that go there, against a server that plays a newer Redis.

Where the machine's Redis is 7.2 or newer, the same is asked of it, too.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest

from celeriac import Celeriac
from celeriac.exceptions import OperationalError, PublishTimeout
from celeriac.torture.servers.redis import PrivateRedis
from celeriac.torture.servers.redis_call import redis_info


class ScriptedRedis:
    """Says that it is Redis 7.2, takes everything, and answers WAITAOF by what it was told to."""

    def __init__(self, answers: list[bytes]) -> None:
        self.commands: list[list[Any]] = []
        self._answers = answers
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="scripted-redis")

    def __enter__(self) -> ScriptedRedis:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                with connection:
                    reader = hiredis.Reader(notEnoughData=...)
                    while data := connection.recv(65536):
                        reader.feed(data)
                        while (command := reader.gets()) is not ...:
                            self.commands.append(command)
                            connection.sendall(self._answer(command[0]))

    def _answer(self, name: bytes) -> bytes:
        match name:
            case b"HELLO":
                return b"%2\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n"
            case b"WAITAOF":
                return self._answers.pop(0)
            case b"EXEC":
                return b"*2\r\n:1\r\n:1\r\n"
            case b"MULTI":
                return b"+OK\r\n"
        return b"+QUEUED\r\n"


@contextlib.contextmanager
def sending_to(port: int, **settings: Any) -> Iterator[Celeriac]:
    """A program whose messages must be on the disk of the server at a port."""
    app = Celeriac("shop", broker=f"redis://127.0.0.1:{port}", redis_durability="fsync", **settings)
    yield app
    app.close()


def test_sending_returns_when_the_message_is_on_the_disk() -> None:
    on_disk = b"*2\r\n:1\r\n:0\r\n"
    with ScriptedRedis([b"*2\r\n:0\r\n:0\r\n", on_disk]) as server, sending_to(server.port) as app:
        app.send_task("any", queue="q")
    names = [command[0] for command in server.commands]
    assert names == [b"HELLO", b"WAITAOF", b"MULTI", b"SADD", b"LPUSH", b"EXEC", b"WAITAOF"]
    assert server.commands[1][1:] == [b"1", b"0", b"1"]
    assert server.commands[-1][1:] == [b"1", b"0", b"1000"]


@pytest.mark.parametrize(
    ("answer", "settings", "complaint"),
    [
        (b"*2\r\n:0\r\n:0\r\n", {}, r"had not written them to its disk within 1 s \(redis_durability_timeout_s\)"),
        (b"*2\r\n:1\r\n:1\r\n", {"redis_durability_replicas": 2}, "1 of 2 replicas confirmed"),
        (b"-UNBLOCKED instance state changed\r\n", {}, "ended with: UNBLOCKED"),
    ],
)
def test_what_is_not_on_the_disk_in_time_is_not_known_to_be_sent(
    answer: bytes, settings: dict[str, Any], complaint: str
) -> None:
    with (
        ScriptedRedis([b"*2\r\n:0\r\n:0\r\n", answer]) as server,
        sending_to(server.port, **settings) as app,
        pytest.raises(PublishTimeout, match=complaint),
    ):
        app.send_task("any", queue="q")


def test_a_redis_that_writes_no_file_is_told_before_anything_is_sent() -> None:
    refusal = b"-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n"
    with ScriptedRedis([refusal]) as server, sending_to(server.port) as app:
        with pytest.raises(OperationalError, match="redis_durability='fsync' needs 'appendonly yes'"):
            app.send_task("any", queue="q")
        assert [command[0] for command in server.commands] == [b"HELLO", b"WAITAOF"]


def test_the_real_one(own_redis: PrivateRedis) -> None:
    version = redis_info(own_redis.port, "server")["redis_version"]
    with sending_to(own_redis.port) as app:
        if tuple(map(int, version.split("."))) >= (7, 2):
            app.send_task("any", queue="q")
        else:
            with pytest.raises(OperationalError, match=rf"VERSION {version}, which has no WAITAOF"):
                app.send_task("any", queue="q")
