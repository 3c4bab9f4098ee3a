"""Taskiq, as it comes."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.torture.orders import QUEUE
from celeriac.torture.places import RABBITMQ, REDIS, Place
from celeriac.torture.scenario import COUNTDOWN
from celeriac.torture.servers.rabbit import PrivateRabbit
from celeriac.torture.servers.service import ServiceError
from celeriac.torture.systems.peer import Peer, ask_redis, count_rabbit, count_redis

DEAD_QUEUE = "taskiq.dead_letter"
GROUP = "taskiq"


class TaskiqSystem(Peer):
    """`taskiq worker` with as many processes of one thread as others have executors."""

    places: Sequence[str] = (REDIS, RABBITMQ)
    packages = ("taskiq", "taskiq-redis", "taskiq-aio-pika")
    modules = ("taskiq", "taskiq_redis", "taskiq_aio_pika")
    lacks = (COUNTDOWN,)

    def __init__(self, *, stream: bool = False) -> None:
        """`stream`: on Redis, the broker that waits for acknowledgements, instead of the plain list."""
        self.name = "taskiq-stream" if stream else "taskiq"
        self.title = "Taskiq, Redis stream" if stream else "Taskiq, default settings"
        self.program = f"celeriac.torture.systems.{'taskiq_stream_program' if stream else 'taskiq_program'}"
        self._stream = stream
        if stream:
            self.places = (REDIS,)

    def worker_command(self, name: str, concurrency: int, options: Sequence[str]) -> list[str]:
        """Return the command line of a worker."""
        command = [self.python, "-m", "taskiq", "worker", f"{self.program}:broker", "--max-threadpool-threads", "1"]
        return [*command, "-w", str(concurrency), *options]

    def is_ready(self, log: str) -> bool:
        """Tell from a worker's log whether it claims messages."""
        return "Listening started." in log

    def held(self, place: Place) -> int:
        """Count what is ready or claimed; what was taken from a list is nowhere."""
        if isinstance(place.server, PrivateRabbit):
            return count_rabbit(place.server, without=(DEAD_QUEUE,))
        if not self._stream:
            return count_redis(place, ("LLEN", QUEUE))
        try:
            groups = ask_redis(place, "XINFO", "GROUPS", QUEUE)
        except ServiceError:  # no stream yet
            return 0
        told = next((dict(zip(group[::2], group[1::2], strict=True)) for group in groups if GROUP in group), {})
        return int(told.get("pending", 0)) + int(told.get("lag") or 0)
