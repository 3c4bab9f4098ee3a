"""What every system can be asked to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

WORKER_PROCESSES = 2


class Client(Protocol):
    """A program that sends tasks and reads results, in the process of the benchmark. All methods block."""

    def send(self, sent_at: float) -> None:
        """Send one no-op task, the usual way."""

    def send_one_by_one(self, count: int) -> None:
        """Send so many no-op tasks, each call waiting for the one before."""

    def send_batch(self, count: int) -> None:
        """Send so many no-op tasks by the quickest way that the library documents."""

    def round_trip(self, count: int) -> None:
        """Send so many tasks that have a result, then fetch all results."""

    def close(self) -> None:
        """Close all connections."""


class System(Protocol):
    """A library on a broker."""

    name: str
    library: str
    broker: str
    """`redis`, `rabbitmq` or `sqlite`."""
    settings: Mapping[str, Any]

    def client(self, broker_url: str, backend_url: str) -> Client:
        """Open a client."""

    def worker_module(self) -> Sequence[str]:
        """The module, with its arguments, that runs a worker with `WORKER_PROCESSES` processes."""
