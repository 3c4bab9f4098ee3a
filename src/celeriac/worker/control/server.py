"""Remote control on the worker's side, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

from celeriac.worker.control.answering import Answering
from celeriac.worker.control.listener import ControlListener
from celeriac.worker.control.mingle import mingle

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.worker.control.state import Parts
    from celeriac.worker.control_filter import ControlFilter

logger = logging.getLogger("celeriac.worker")

START_S: Final = 2.0
"""So long the start of a worker waits at most until remote control is heard."""


class ControlServer:
    """Listens to requests and answers them, and asks the others at the start what is revoked; where remote control is on."""

    def __init__(self, app: Celeriac, hostname: str, parts: Parts, heeds: ControlFilter) -> None:
        self._app = app
        self._hostname = hostname
        self._parts = parts
        self._listener: ControlListener | None = None
        self._asking: asyncio.Task[None] | None = None
        if app.settings.worker_enable_remote_control:
            answering = Answering(app, hostname, parts, heeds)
            self._listener = ControlListener(app, hostname, parts.events.clock, app.broker.messenger(), answering)

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Return what has to run for it, with names."""
        if self._listener is not None:
            yield "control", self._listener.run()

    async def started(self) -> None:
        """Wait, for a moment at most, until requests are heard; the other workers are asked without waiting for them."""
        if self._listener is None:
            return
        try:
            async with asyncio.timeout(START_S):
                await self._listener.is_open.wait()
        except TimeoutError:
            logger.warning("remote control is not heard yet")
        if self._app.settings.worker_enable_mingle and not self._app.content.requires_signatures:
            asking = mingle(self._app, self._hostname, self._parts.events.clock, self._parts.revoker)
            self._asking = asyncio.create_task(asking, name="celeriac-mingle")

    async def close(self) -> None:
        """Disconnect. Call it when the loops have ended."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        if self._listener is not None:
            await self._listener.close()
