"""What the torture has to know of a task queue."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import psutil

from celeriac.torture.places import Place


class System(Protocol):
    """A task queue with one program: how its worker is started, what of it runs tasks, and what its broker still has."""

    @property
    def name(self) -> str:
        """Its name for the command line."""

    @property
    def title(self) -> str:
        """As it stands in tables, with the profile of settings."""

    @property
    def places(self) -> Collection[str]:
        """Where it can be tortured."""

    @property
    def program(self) -> str:
        """The module with its tasks and `send`."""

    @property
    def python(self) -> str:
        """The interpreter of its programs."""

    @property
    def lacks(self) -> Collection[str]:
        """What it does not have of what scenarios need."""

    def worker_command(self, name: str, concurrency: int, options: Sequence[str]) -> list[str]:
        """Return the command line of a worker."""

    def is_ready(self, log: str) -> bool:
        """Tell from a worker's log whether it claims messages."""

    def executors(self, worker: psutil.Process) -> list[psutil.Process]:
        """Return the processes of a worker that run tasks."""

    def held(self, place: Place) -> int:
        """Count the messages that the broker still has: ready, delayed or claimed; not what is parked."""

    def missing(self) -> str | None:
        """Name what has to be installed before it can be tortured."""
