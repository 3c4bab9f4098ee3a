"""Sending events: collected, in batches, never waited for."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.events.event import hours_west
from celeriac.client.lamport import LamportClock
from celeriac.core.addresses import event_address
from celeriac.core.message import Message
from celeriac.core.ports import Messenger
from celeriac.core.urls import mask
from celeriac.exceptions import CeleriacError, EncodeError
from celeriac.wire.event import encode_event, encode_events
from celeriac.worker.events.described import Event
from celeriac.worker.link import FIRST_PAUSE_S, LONGEST_PAUSE_S

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.worker")

LINGER_S: Final = 0.02
"""So long events are collected before they are sent: few sends, each with many."""
BATCH_MAX: Final = 100
"""Most events of tasks in one letter."""
LETTERS_MAX: Final = 20
"""Most letters sent at once."""
SEND_TIMEOUT_S: Final = 5.0
"""A broker that takes nothing for so long counts as away."""
TELL_EVERY_S: Final = 10.0
"""How often the log tells at most that some were dropped."""
FAREWELL_S: Final = 1.0
"""How long a worker that leaves tries to say so."""


class EventSender:
    """Duties: 1. complete events (who, when, in which order) and hold them; 2. send them in batches, those of tasks many to a
    letter; 3. drop what finds no room while the broker is slow or away, and say how much it was.

    To tell something costs a few microseconds, and never waits.  One event loop only.
    """

    def __init__(self, app: Celeriac, hostname: str, clock: LamportClock, messenger: Messenger) -> None:
        self._app = app
        self._address = event_address(app.settings)
        self._serializer = app.settings.event_serializer
        self._hostname = hostname
        self._clock = clock
        self._messenger = messenger
        self._time: Callable[[], float] = app.time_source.time
        self._common = {"hostname": hostname, "utcoffset": hours_west(), "pid": os.getpid()}
        self._room = app.settings.event_buffer_max
        self._tasks: deque[Event] = deque()
        self._workers: deque[Event] = deque(maxlen=10)
        """What the worker tells of itself: few, and the latest matter."""
        self._something = asyncio.Event()
        self._is_open = False
        self.dropped = 0
        """How many events found no room, or went down with a connection."""
        self._told_dropped = 0
        self._told_at = -math.inf

    # -- telling ------------------------------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Send an event of a task, soon; it is dropped when there is no room."""
        if len(self._tasks) >= self._room:
            self.dropped += 1
            return
        self._complete(event)
        self._tasks.append(event)
        self._something.set()

    def tell_of_worker(self, kind: str, **fields: Any) -> None:
        """Send an event of the worker itself, soon."""
        event = {"type": kind, **fields}
        self._common["utcoffset"] = hours_west()  # it changes with daylight saving
        self._complete(event)
        self._workers.append(event)
        self._something.set()

    def _complete(self, event: Event) -> None:
        event.update(self._common)
        event["clock"] = self._clock.forward()
        event["timestamp"] = self._time()

    # -- sending ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send until cancelled, reconnecting as often as it takes."""
        pause_s = FIRST_PAUSE_S
        while True:
            await self._something.wait()
            await asyncio.sleep(LINGER_S)
            try:
                await self._send_some()
            except (CeleriacError, TimeoutError) as error:
                if self._is_open:
                    logger.warning("events can't be sent, will go on trying: %s", mask(str(error)) or "no answer")
            except Exception:  # a defect, but no reason to stop a worker
                logger.exception("events can't be sent, will go on trying")
            else:
                pause_s = FIRST_PAUSE_S
                continue
            self._is_open = False
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)

    async def _send_some(self) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            if not self._is_open:
                await self._messenger.open(())
                self._is_open = True
            letters = [self._one(self._workers.popleft()) for _ in range(len(self._workers))]
            count = 0
            while self._tasks and len(letters) < LETTERS_MAX:
                some = [self._tasks.popleft() for _ in range(min(BATCH_MAX, len(self._tasks)))]
                count += len(some)
                letters += self._many(some)
            if not (self._tasks or self._workers):
                self._something.clear()
            try:
                await self._messenger.send(self._address, letters)
            except BaseException:
                # Nobody knows whether they arrived; told twice, they would be counted twice.
                self.dropped += count
                raise
        self._say_what_was_dropped()

    def _say_what_was_dropped(self) -> None:
        now = time.monotonic()
        if self.dropped == self._told_dropped or now - self._told_at < TELL_EVERY_S:
            return
        logger.warning(
            "%d events of tasks were dropped, because the broker was away or slow (event_buffer_max = %d)",
            self.dropped - self._told_dropped,
            self._room,
        )
        self._told_dropped, self._told_at = self.dropped, now

    def _one(self, event: Event) -> Message:
        return encode_event(event, self._address.exchange, self._serializer)

    def _many(self, events: list[Event]) -> list[Message]:
        try:
            return [encode_events(events, self._address.exchange, self._serializer)]
        except EncodeError as error:
            if len(events) > 1:  # one that can't be written must not take the others along
                return [letter for event in events for letter in self._many([event])]
            logger.debug("an event can't be written: %s", error)
            self.dropped += 1
            return []

    async def close(self) -> None:
        """Send what is left, for a moment at most, and disconnect. Call it when `run` has ended."""
        try:
            async with asyncio.timeout(FAREWELL_S):
                while self._tasks or self._workers:
                    await self._send_some()
        except (CeleriacError, TimeoutError) as error:
            logger.debug("the last events were not sent: %s", error)
        finally:
            await self._messenger.close()
