"""The brokers: private ones, each started when the first system wants it, the same for all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import psutil

from bench.catalogue import RABBITMQ, REDIS, System
from celeriac.torture.servers.rabbit import PrivateRabbit, find_rabbit
from celeriac.torture.servers.redis import PrivateRedis, find_redis
from celeriac.torture.servers.redis_call import redis_info

WITHOUT_PERSISTENCE: Final = ("--appendonly", "no")
"""Redis writes nothing to disk, for any system: how quick this machine's disk is says nothing of a task queue."""


def missing(broker: str) -> bool:
    """Whether the program of this broker is not to be found here."""
    find: Callable[[], object] = {REDIS: find_redis, RABBITMQ: find_rabbit}.get(broker, lambda: True)
    return find() is None


@dataclass(frozen=True)
class Place:
    """An empty broker and result backend."""

    broker_url: str
    backend_url: str
    cpu_s: Callable[[], float | None]
    """Seconds of CPU that the broker has used so far; None where it has no process of its own."""
    commands: Callable[[], int | None]
    """Commands that the broker has carried out so far, those of scripts, too; None where it does not count them."""
    close: Callable[[], object]


class Servers:
    """The brokers' processes. Use it as a context manager; nothing of them is left behind."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._redis: PrivateRedis | None = None
        self._rabbit: PrivateRabbit | None = None
        self.versions: dict[str, str] = {}
        """Of the servers that were started."""

    def place(self, system: System, directory: Path) -> Place:
        """Return an empty place for a system; starts a broker if need be (some seconds)."""
        match system.broker:
            case "redis":
                redis = self._started_redis()
                url = redis.fresh_url()
                return Place(
                    url, system.backend or url, lambda: _cpu_s(redis.pid), lambda: _commands(redis), lambda: None
                )
            case "rabbitmq":
                if self._rabbit is None:
                    self._rabbit = self._stack.enter_context(PrivateRabbit())
                    self.versions["RabbitMQ"] = self._rabbit.evaluate("list_to_binary(rabbit_misc:version()).")
                rabbit = self._rabbit
                vhost = rabbit.vhost()
                backend = self._started_redis().fresh_url() if system.backend == REDIS else system.backend
                return Place(
                    rabbit.vhost_url(vhost),
                    backend,
                    lambda: _cpu_s(rabbit.pid),
                    lambda: None,
                    lambda: rabbit.delete_vhost(vhost),
                )
            case _:
                url = f"sqlite:///{directory}/broker.db"
                return Place(url, url, lambda: None, lambda: None, lambda: None)

    def _started_redis(self) -> PrivateRedis:
        if self._redis is None:
            self._redis = self._stack.enter_context(PrivateRedis(options=WITHOUT_PERSISTENCE))
            self.versions["Redis"] = redis_info(self._redis.port, "server")["redis_version"]
        return self._redis

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _commands(redis: PrivateRedis) -> int:
    return int(redis_info(redis.port, "stats")["total_commands_processed"])
