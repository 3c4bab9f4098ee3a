"""A worker as its events show it."""

from __future__ import annotations

import bisect
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

logger = logging.getLogger("celeriac.events")

HEARTBEAT_EXPIRE_WINDOW: Final = 200
"""Per cent of the time between heartbeats after which a worker is taken to be gone."""
HEARTBEAT_DRIFT_MAX: Final = 16
"""Seconds by which the clocks of a worker and of the monitor may differ before that is said."""
_HEARTBEATS_KEPT: Final = 4
_OUR_OWN: Final = frozenset({"hostname", "heartbeats"})
"""What no event may set."""


def heartbeat_expires(timestamp: float, freq: float = 60.0, expire_window: float = HEARTBEAT_EXPIRE_WINDOW) -> float:
    """Return until when (Unix seconds) a worker is taken to live after a heartbeat, where it sends one every `freq` seconds."""
    return float(timestamp) + float(freq) * expire_window / 100


class Worker:
    """What is known of one worker; Celery's names of it."""

    expire_window: float = HEARTBEAT_EXPIRE_WINDOW

    def __init__(self, hostname: str, **fields: Any) -> None:
        self.hostname = hostname
        self.pid: int | None = None
        self.freq: float = 60.0
        """Seconds between its heartbeats."""
        self.heartbeats: list[float] = []
        """When the last ones were received, Unix seconds."""
        self.clock: int = 0
        self.active: int | None = None
        """How many tasks run."""
        self.processed: int | None = None
        """How many it has run since its start."""
        self.loadavg: list[float] | None = None
        self.sw_ident: str | None = None
        self.sw_ver: str | None = None
        self.sw_sys: str | None = None
        self._has_drifted = False
        self.update(fields)

    def update(self, fields: Mapping[str, Any], **more: Any) -> None:
        """Take what an event says."""
        for name, value in {**fields, **more}.items():
            if name not in _OUR_OWN and not name.startswith("_") and not hasattr(type(self), name):
                setattr(self, name, value)

    def event(
        self,
        type: str | None,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take an event of the worker, or (None) a sign of life by an event of one of its tasks."""
        self.update(fields or {})
        if type == "offline":
            self.heartbeats.clear()
            return
        if not local_received or not timestamp:
            return
        drift_s = abs(local_received - timestamp)
        if drift_s > HEARTBEAT_DRIFT_MAX and not self._has_drifted:
            self._has_drifted = True
            logger.warning("the clock of %s and ours differ by %.0f s: set them", self.hostname, drift_s)
        bisect.insort(self.heartbeats, local_received)
        del self.heartbeats[:-_HEARTBEATS_KEPT]

    @property
    def id(self) -> str:
        """Name and process id."""
        return f"{self.hostname}.{self.pid}"

    @property
    def heartbeat_expires(self) -> float:
        """Until when it is taken to live, Unix seconds."""
        freq = self.freq if isinstance(self.freq, int | float) else 60.0
        return heartbeat_expires(self.heartbeats[-1] if self.heartbeats else 0.0, freq, self.expire_window)

    @property
    def alive(self) -> bool:
        """Whether a heartbeat came in time."""
        return bool(self.heartbeats) and time.time() < self.heartbeat_expires

    @property
    def status_string(self) -> str:
        """`ONLINE` or `OFFLINE`."""
        return "ONLINE" if self.alive else "OFFLINE"

    def __eq__(self, other: object) -> bool:
        return self.hostname == other.hostname if isinstance(other, Worker) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hostname)

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string} clock:{self.clock})>"
