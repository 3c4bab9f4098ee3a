"""What the pool asks of whoever makes its executors; `spawners` has those that do."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from celeriac.worker.handle import Body


class Spawner(Protocol):
    """Makes the processes or threads behind the handles."""

    async def start(
        self,
        spawned: Callable[[int, Body], None],
        exited: Callable[[int, int], None],
        lost: Callable[[int], None],
    ) -> None:
        """Get ready; from then on tell about each executor's birth and end; `lost` is an end that no task is to blame for.

        Raises `ImproperlyConfigured`.
        """

    def spawn(self, number: int, kind: str, slots: int, jobs: socket.socket, reports: socket.socket) -> None:
        """Make an executor with its two sockets."""

    async def renew(self) -> None:
        """Have the executors made from now on import the app anew; those that live go on.

        Raises `ImproperlyConfigured` when that can't be done, and then everything stays as it was.
        """

    async def close(self) -> None:
        """End everything that is left."""
