"""Celery: as it comes, and with the settings that its community recommends against loss."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.torture.orders import QUEUE
from celeriac.torture.places import RABBITMQ, REDIS, Place
from celeriac.torture.servers.rabbit import PrivateRabbit
from celeriac.torture.systems.peer import Peer, count_rabbit, count_redis

PRIORITY_STEPS = ("3", "6", "9")
"""On Redis it has a list for each of them, beside the one named as the queue."""
UNACKED = "unacked"


class CelerySystem(Peer):
    """`celery worker` with its pool of processes."""

    places = (REDIS, RABBITMQ)
    packages = ("celery[redis]",)
    modules = ("celery", "redis")

    def __init__(self, *, best: bool = False) -> None:
        """`best`: with settings against loss, instead of those it comes with."""
        self.name = "celery-best" if best else "celery"
        self.title = "Celery, best settings" if best else "Celery, default settings"
        self.program = f"celeriac.torture.systems.{'celery_best_program' if best else 'celery_program'}"

    def worker_command(self, name: str, concurrency: int, options: Sequence[str]) -> list[str]:
        """Return the command line of a worker."""
        command = [self.python, "-m", "celery", "-A", self.program, "worker", "-n", f"{name}@torture", "-l", "INFO"]
        return [*command, "-Q", QUEUE, "-c", str(concurrency), *options]

    def is_ready(self, log: str) -> bool:
        """Tell from a worker's log whether it claims messages."""
        return "@torture ready." in log

    def held(self, place: Place) -> int:
        """Count what is ready or claimed; what waits for its time is claimed, too, or in queues of its own."""
        if isinstance(place.server, PrivateRabbit):
            return count_rabbit(place.server)
        lists = [QUEUE, *(f"{QUEUE}\x06\x16{step}" for step in PRIORITY_STEPS)]
        return count_redis(place, *(("LLEN", name) for name in lists), ("HLEN", UNACKED))
