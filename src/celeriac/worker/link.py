"""The one reconnect state machine: up, or down and being reopened."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from celeriac.core.urls import mask
from celeriac.exceptions import BrokerFull, BrokerUnavailable, OperationalError, PublishTimeout

logger = logging.getLogger("celeriac.worker")

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 1.0
"""So that work goes on soon after the other side is back."""

R = TypeVar("R")


class Link:
    """Duties: 1. open the connection, again and again after a failure; 2. hold back every operation until it is open;
    3. repeat an operation that failed for want of a connection.
    """

    def __init__(self, what: str, reopen: Callable[[], Awaitable[None]], on_lost: Callable[[], None]) -> None:
        """`what` names the other side in logs; `on_lost` is called when the connection has been lost."""
        self._what = what
        self._reopen = reopen
        self._on_lost = on_lost
        self._up = asyncio.Event()
        self._reopening: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether the connection is open, as far as is known."""
        return self._up.is_set()

    async def open(self) -> None:
        """Open for the first time; raises what the other side raises."""
        await self._reopen()
        self._up.set()

    def down(self, error: Exception) -> None:
        """Note a failure and begin to reconnect, unless that is under way."""
        if not self._up.is_set():
            return
        self._up.clear()
        logger.warning("lost %s: %s; reconnecting", self._what, mask(str(error)))
        self._on_lost()
        self._reopening = asyncio.get_running_loop().create_task(self._reconnect())

    async def call(self, operation: Callable[[], Awaitable[R]], refusals: int | None = None) -> R:
        """Run an operation, waiting for the connection and repeating it as often as the connection fails.

        After so many `refusals` (errors of a server that is there: a missing right, a key of another type) raise the last one.
        """
        refused = 0
        while True:
            await self._up.wait()
            try:
                return await operation()
            except (PublishTimeout, BrokerFull) as error:
                # The server is there and takes nothing now, as RabbitMQ under an alarm or a full Redis: a new connection would not help,
                # and would cost every claim.
                logger.warning("%s takes no messages: %s; trying again", self._what, mask(str(error)))
                await asyncio.sleep(FIRST_PAUSE_S)
            except OperationalError as error:
                refused += not isinstance(error, BrokerUnavailable)
                if refusals is not None and refused >= refusals:
                    raise
                self.down(error)
                # A failure noted while we were up already again must not spin.
                await asyncio.sleep(FIRST_PAUSE_S)

    async def _reconnect(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            try:
                await self._reopen()
            except OperationalError as error:
                logger.debug("still no %s: %s", self._what, mask(str(error)))
                pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)
            except Exception:  # a defect, but no reason never to try again
                logger.exception("reconnecting to %s failed unexpectedly", self._what)
                pause_s = LONGEST_PAUSE_S
            else:
                logger.warning("%s is back", self._what)
                self._up.set()
                return

    async def close(self) -> None:
        """Stop reconnecting."""
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.gather(self._reopening, return_exceptions=True)
