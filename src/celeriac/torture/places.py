"""Places where systems are tortured: a private broker, and where results are stored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from celeriac.torture.servers.rabbit import PrivateRabbit, find_rabbit
from celeriac.torture.servers.redis import PrivateRedis, find_redis
from celeriac.torture.servers.service import Service, ServiceError

REDIS, RABBITMQ, SQLITE = "redis", "rabbitmq", "sqlite"


class Place:
    """A broker of our own and a result store.

    `store`: the process of the results; the broker's where they share it.  `settings`: what programs need to find both.
    """

    def __init__(
        self,
        name: str,
        broker_url: str,
        backend_url: str,
        server: Service | None,
        store: Service | None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.broker_url = broker_url
        self.backend_url = backend_url
        self.store = store
        self.settings: Mapping[str, Any] = settings or {}
        self._server = server

    @property
    def server(self) -> Service | None:
        """The broker's process, to be broken; None for a file."""
        return self._server

    @property
    def redis(self) -> PrivateRedis:
        """The broker, where it is a Redis."""
        assert isinstance(self.server, PrivateRedis), f"{self.name} is no Redis"
        return self.server

    @property
    def rabbit(self) -> PrivateRabbit:
        """The broker, where it is a RabbitMQ."""
        assert isinstance(self.server, PrivateRabbit), f"{self.name} is no RabbitMQ"
        return self.server


@contextlib.contextmanager
def _redis(directory: Path) -> Iterator[Place]:
    with PrivateRedis() as server:
        yield Place(REDIS, server.url, server.url, server, server)


@contextlib.contextmanager
def _rabbitmq(directory: Path) -> Iterator[Place]:
    with PrivateRabbit() as server, PrivateRedis() as store:
        yield Place(RABBITMQ, server.url, store.url, server, store)


@contextlib.contextmanager
def _sqlite(directory: Path) -> Iterator[Place]:
    url = f"sqlite:///{directory}/queue.db"
    yield Place(SQLITE, url, url, None, None)


PLACES: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[Place]]] = {
    REDIS: _redis,
    RABBITMQ: _rabbitmq,
    SQLITE: _sqlite,
}


def open_place(name: str, directory: Path) -> contextlib.AbstractContextManager[Place]:
    """Start what a place consists of, in a `with` block; `directory` is for files.

    Raises `ServiceError` when a program is missing or does not start.
    """
    if name not in PLACES:
        raise ServiceError(f"there is no place {name!r}; there are {', '.join(PLACES)}")
    return PLACES[name](directory)


def missing_program(name: str) -> str | None:
    """Name the program that a place needs and this machine has not."""
    if name in (REDIS, RABBITMQ) and find_redis() is None:
        return "redis-server"
    if name == RABBITMQ and find_rabbit() is None:
        return "rabbitmq-server"
    return None
