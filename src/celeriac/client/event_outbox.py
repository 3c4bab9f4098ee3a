"""Events that programs send: at once, or beside their work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.background import BackgroundLoop
from celeriac.core.addresses import event_address
from celeriac.exceptions import BrokerUnavailable, CeleriacError
from celeriac.wire.event import encode_event

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.message import Message
    from celeriac.core.ports import Messenger

logger = logging.getLogger("celeriac.events")

LINGER_S: Final = 0.02
"""So long events are collected before they are sent: few sends, each with many."""
AT_ONCE: Final = 500
"""Most letters in one send."""
PAUSE_S: Final = 1.0
"""After a failure nothing is tried for so long."""
FAREWELL_S: Final = 1.0
"""How long the end of the app waits for events that are not sent yet."""


class EventOutbox:
    """Sends the events of one process, over one connection on the background loop. Thread-safe.

    1. `tell` takes an event in and never waits; while the broker is slow or away, what finds no room is dropped.
    2. `send` waits until events are with the broker.
    """

    def __init__(self, app: Celeriac, loop: BackgroundLoop) -> None:
        self._app = app
        self._background = loop
        self._address = event_address(app.settings)
        self._timeout_s = app.settings.publish_timeout_s
        self._letters: deque[Message] = deque(maxlen=app.settings.event_buffer_max)
        self._lock = threading.Lock()
        self._is_flushing = False
        self.dropped = 0
        """How many events were not sent."""
        # What follows is touched in the loop only.
        self._messenger: Messenger | None = None
        self._turn: asyncio.Lock | None = None

    def tell(self, event: dict[str, Any]) -> None:
        """Have an event sent, soon. Raises `EncodeError` for fields that are no plain data."""
        letter = self._letter(event)
        with self._lock:
            self._drop_oldest_if_full()
            self._letters.append(letter)
            if self._is_flushing:
                return
            self._is_flushing = True
        with contextlib.suppress(BrokerUnavailable):  # the app was closed
            self._background.submit(self._flush)

    def send(self, events: Sequence[dict[str, Any]]) -> None:
        """Send events now, blocking up to `publish_timeout_s`. Raises `BrokerUnavailable`, and as `tell`."""
        letters = [self._letter(event) for event in events]
        self._background.run(partial(self._post, letters))

    def close(self) -> None:
        """Send what waits or is just being sent, for a moment at most, and close the connection. Idempotent, blocking."""
        if self._messenger is None and not self._is_flushing:
            return
        with contextlib.suppress(CeleriacError, TimeoutError):
            self._background.run(self._leave)

    def _letter(self, event: dict[str, Any]) -> Message:
        return encode_event(event, self._address.exchange, self._app.settings.event_serializer)

    def _drop_oldest_if_full(self) -> None:
        if len(self._letters) == self._letters.maxlen:
            self._count_dropped(1)

    def _count_dropped(self, count: int) -> None:
        if not self.dropped:
            logger.warning("events are dropped, because the broker is away or slow; this is said once")
        self.dropped += count

    # -- in the loop --------------------------------------------------------------------------------------------------

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(LINGER_S)
            with self._lock:
                letters = [self._letters.popleft() for _ in range(min(AT_ONCE, len(self._letters)))]
                if not letters:
                    self._is_flushing = False
                    return
            try:
                await self._post(letters)
            except Exception as error:  # a defect, too, must not be the end of all events
                self._count_dropped(len(letters))
                logger.debug("events were not sent: %s", error, exc_info=not isinstance(error, CeleriacError))
                await asyncio.sleep(PAUSE_S)

    async def _post(self, letters: Sequence[Message]) -> None:
        if self._turn is None:
            self._turn = asyncio.Lock()
        try:
            async with asyncio.timeout(self._timeout_s), self._turn:
                if self._messenger is None:
                    messenger = self._app.broker.messenger()
                    await messenger.open(())
                    self._messenger = messenger
                try:
                    await self._messenger.send(self._address, letters)
                except BaseException:
                    messenger, self._messenger = self._messenger, None
                    await messenger.close()
                    raise
        except TimeoutError:
            raise BrokerUnavailable(
                f"{self._app.broker.shown_url()} did not take events within {self._timeout_s:g} s"
            ) from None

    async def _leave(self) -> None:
        with self._lock:
            letters = list(self._letters)
            self._letters.clear()
        try:
            async with asyncio.timeout(FAREWELL_S):
                if letters:
                    await self._post(letters)
                elif self._turn is not None:
                    async with self._turn:  # those are sent that were taken out before
                        pass
        finally:
            if self._messenger is not None:
                messenger, self._messenger = self._messenger, None
                await messenger.close()
