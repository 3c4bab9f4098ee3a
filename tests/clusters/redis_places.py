"""What tests of Redis with replicas share: a place in it for programs and workers, and a program that keeps sending."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from celeriac import Celeriac
from celeriac.exceptions import OperationalError, PublishTimeout
from celeriac.torture.servers.redis_sentinel import MASTER_NAME, PrivateSentinels
from tests.e2e.harness import Place, Scene

WITH_SENTINELS: Final[Mapping[str, Any]] = {
    "broker_transport_options": {"master_name": MASTER_NAME},
    "result_backend_transport_options": {"master_name": MASTER_NAME},
}
LONG: Final = bool(os.environ.get("CELERIAC_LONG_FAILOVERS"))
"""Whether the tests run that tell numbers and take minutes."""


class ReplicatedPlace(Place):
    """A place whose programs need settings of their own to find it."""

    def __init__(self, url: str, backend_url: str, directory: Path, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        super().__init__("redis", url, backend_url, directory, None)

    def make_app(self, **settings: Any) -> Celeriac:
        return super().make_app(**{**self._settings, **settings})

    def environment(self, settings: Mapping[str, Any]) -> dict[str, str]:
        return super().environment({**self._settings, **settings})


def sentinel_app(servers: PrivateSentinels, **settings: Any) -> Celeriac:
    """A program with broker and results in the Redis that Sentinels name."""
    given: dict[str, Any] = {
        "publish_timeout_s": 30.0,
        "worker_lease_s": 5.0,
        "worker_heartbeat_s": 0.5,
        **WITH_SENTINELS,
    }
    return Celeriac("shop", broker=servers.url, backend=servers.database_url(1), **{**given, **settings})


class Sender:
    """A thread that sends one task after the other until it is told to stop, and keeps what it was told of each."""

    def __init__(self, scene: Scene, pause_s: float = 0.0) -> None:
        """`pause_s`: between two calls, so that workers keep pace."""
        self._scene = scene
        self._pause_s = pause_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender")
        self.accepted: list[str] = []
        """Keys of calls that returned."""
        self.unknown: list[str] = []
        """Those that raised `PublishTimeout`."""
        self.refused: list[str] = []
        """Those that raised that they were not sent."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()

    def until_accepted(self, count: int) -> None:
        """Wait until so many more have been accepted."""
        wanted = len(self.accepted) + count
        self._scene.until(lambda: len(self.accepted) >= wanted, f"{count} more calls are accepted")

    def _run(self) -> None:
        number = 0
        while not self._stopped.wait(self._pause_s):
            number += 1
            key = self._scene.key(f"sent-{number}")
            try:
                self._scene.send("work", key, 0.001)
            except PublishTimeout:
                self.unknown.append(key)
            except OperationalError:
                self.refused.append(key)
            else:
                self.accepted.append(key)
