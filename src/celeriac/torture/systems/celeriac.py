"""Celeriac itself, with default settings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing

import psutil

from celeriac import Celeriac
from celeriac.torture.orders import QUEUE
from celeriac.torture.places import RABBITMQ, REDIS, SQLITE, Place
from celeriac.torture.servers.rabbit import PrivateRabbit
from celeriac.transports.amqp.topology import DEAD_SUFFIX, REVOKED_STREAM


class CeleriacSystem:
    """`celeriac worker` with nothing changed but what a scenario is about."""

    name = "celeriac"
    title = "Celeriac"
    places = (REDIS, RABBITMQ, SQLITE)
    program = "celeriac.torture.systems.celeriac_program"
    python = sys.executable
    lacks = ()

    def worker_command(self, name: str, concurrency: int, options: Sequence[str]) -> list[str]:
        """Return the command line of a worker."""
        command = [self.python, "-m", "celeriac", "-A", self.program, "worker", "-n", f"{name}@torture"]
        return [*command, "-Q", QUEUE, "-c", str(concurrency), "--allow-embedded", *options]

    def is_ready(self, log: str) -> bool:
        """Tell from a worker's log whether it claims messages."""
        return "@torture ready." in log

    def executors(self, worker: psutil.Process) -> list[psutil.Process]:
        """Return the children of its fork server."""
        return [executor for server in worker.children() for executor in server.children()]

    def held(self, place: Place) -> int:
        """Count what is ready, delayed or claimed."""
        if isinstance(place.server, PrivateRabbit):  # its clients are not told what is claimed or delayed
            lengths = place.server.queue_lengths("/")  # of quorum queues they are some seconds old
            lengths[QUEUE] = place.server.unsettled("/", QUEUE)
            lengths.pop(REVOKED_STREAM, None)
            return sum(count for name, count in lengths.items() if not name.endswith(DEAD_SUFFIX))
        with (
            Celeriac(
                "look", broker=place.broker_url, backend="disabled://", set_as_current=False, **place.settings
            ) as app,
            closing(app.broker.admin()) as admin,
        ):
            depth = admin.depths([QUEUE])[0]
            return depth.ready + (depth.delayed or 0) + (depth.claimed or 0)

    def missing(self) -> str | None:
        """Nothing: it is here."""
        return None
