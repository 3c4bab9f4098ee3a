"""The worker's own events: that it is there, that it lives, that it leaves."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from celeriac import __version__
from celeriac.client import signals
from celeriac.worker.events.sender import EventSender

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

ASKED_FREQ_S: Final = 5.0
"""What a heartbeat says of its frequency that somebody has asked for, as with Celery."""
SOFTWARE: Final = {"sw_ident": "py-celeriac", "sw_ver": __version__, "sw_sys": platform.system()}


class Heart:
    """Sends `worker-online`, a `worker-heartbeat` every so often, and `worker-offline`."""

    def __init__(
        self, app: Celeriac, sender: EventSender, active: Callable[[], int], processed: Callable[[], int]
    ) -> None:
        """`active`, `processed`: how many tasks run, and how many have ended since the start."""
        self._interval_s = app.settings.worker_event_heartbeat_s
        self._sender = sender
        self._active = active
        self._processed = processed

    async def run(self) -> None:
        """Beat until cancelled."""
        self._beat("worker-online")
        while True:
            if not self._interval_s:
                await asyncio.Event().wait()
            await asyncio.sleep(self._interval_s)
            self._beat("worker-heartbeat")

    def beat_now(self) -> None:
        """Send a heartbeat because somebody has asked for it."""
        self._sender.tell_of_worker("worker-heartbeat", freq=ASKED_FREQ_S, **SOFTWARE)

    def stop(self) -> None:
        """Say that the worker leaves."""
        self._beat("worker-offline")

    def _beat(self, kind: str) -> None:
        if signals.heartbeat_sent.receivers:
            signals.heartbeat_sent.send(self)
        self._sender.tell_of_worker(kind, freq=self._interval_s, **self._figures(), **SOFTWARE)

    def _figures(self) -> dict[str, Any]:
        return {
            "active": self._active(),
            "processed": self._processed(),
            "loadavg": [round(load, 2) for load in os.getloadavg()],
        }
