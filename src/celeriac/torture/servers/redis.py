"""A private Redis."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Sequence

from celeriac.torture.servers.service import HERE, Location, Service, ServiceError, find_program

REDIS_MISSING = "redis-server not found"


def find_redis() -> str | None:
    """The path of redis-server, or None."""
    return find_program("redis-server")


class PrivateRedis(Service):
    """A Redis of our own, that writes every command to its append-only file before it answers.

    options: further command line options, as in ("--maxmemory", "2mb").
    password: what clients must give; it stands in `url`.
    """

    name = "redis"
    databases = 16

    def __init__(self, *, options: Sequence[str] = (), password: str | None = None, at: Location = HERE) -> None:
        program = find_redis()
        if program is None:
            raise ServiceError(f"{REDIS_MISSING}: install Redis")
        super().__init__(at)
        self._program = program
        self._options = [*options, *(["--requirepass", password] if password is not None else [])]
        self._password = password
        self._database_numbers = itertools.cycle(range(self.databases))

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return self.database_url(0)

    def database_url(self, number: int) -> str:
        """The URL of one of the 16 databases. Beware: publish/subscribe channels are shared by them all."""
        user = f":{self._password}@" if self._password is not None else ""
        return f"redis://{user}{self.at.address}:{self.port}/{number}"

    def fresh_url(self) -> str:
        """The URL of the next database in turn, emptied."""
        number = next(self._database_numbers)
        with socket.create_connection((self.at.address, self.port), timeout=10) as connection:
            self._call(connection, f"SELECT {number}")
            self._call(connection, "FLUSHDB")
        return self.database_url(number)

    def _command(self) -> list[str]:
        persistence = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        place = [
            "--bind",
            self.at.address,
            "--port",
            str(self.port),
            "--dir",
            str(self.directory),
            "--protected-mode",
            "no",
        ]
        return [self._program, *place, *persistence, "--databases", str(self.databases), *self._options]

    def _answers(self, connection: socket.socket) -> bool:
        return self._call(connection, "PING") == "+PONG"  # else it is still loading its data, and says so

    def _call(self, connection: socket.socket, command: str) -> str:
        if self._password is not None:
            connection.sendall(f"AUTH {self._password}\r\n".encode())
            connection.recv(1024)
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(1024).decode().strip()
