"""Dramatiq, as it comes."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.torture.orders import QUEUE
from celeriac.torture.places import RABBITMQ, REDIS, Place
from celeriac.torture.servers.rabbit import PrivateRabbit
from celeriac.torture.systems.peer import Peer, count_rabbit, count_redis

DEAD_QUEUE = f"{QUEUE}.XQ"


class DramatiqSystem(Peer):
    """`dramatiq` with as many processes of one thread as others have executors."""

    name = "dramatiq"
    title = "Dramatiq, default settings"
    places = (REDIS, RABBITMQ)
    program = "celeriac.torture.systems.dramatiq_program"
    packages = ("dramatiq[redis,rabbitmq]",)
    modules = ("dramatiq", "redis", "pika")

    def worker_command(self, name: str, concurrency: int, options: Sequence[str]) -> list[str]:
        """Return the command line of a worker."""
        command = [self.python, "-m", "dramatiq", self.program, "-Q", QUEUE, "-t", "1"]
        return [*command, "-p", str(concurrency), *options]

    def is_ready(self, log: str) -> bool:
        """Tell from a worker's log whether it claims messages."""
        return "Worker process is ready for action." in log

    def held(self, place: Place) -> int:
        """Count what is ready, delayed or claimed."""
        if isinstance(place.server, PrivateRabbit):
            return count_rabbit(place.server, without=(DEAD_QUEUE,))
        # All messages of a queue are in one hash until they are acknowledged.
        return count_redis(place, *(("HLEN", f"dramatiq:{name}.msgs") for name in (QUEUE, f"{QUEUE}.DQ")))
