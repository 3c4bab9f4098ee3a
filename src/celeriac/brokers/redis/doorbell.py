"""How a worker that found nothing learns that there may be something."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any, Final

from celeriac.transports.redis.connection import Connection
from celeriac.transports.redis.errors import ReplyError

logger = logging.getLogger(__name__)

WATCHDOG_S: Final = 1.0
"""Longest wait for a ring: should one get lost, nothing stands still for longer than this."""
_POLL_FIRST_S: Final = 0.005
_POLL_LONGEST_S: Final = 0.1
_FREE_MISSES: Final = 3
_MISS_PAUSE_S: Final = 0.001
_MISS_PAUSE_LONGEST_S: Final = 0.02


class Doorbell:
    """Rings when a key changes that the last claim found empty.

    1. Asks Redis to tell of such changes (CLIENT TRACKING), which works for whoever makes them, Celery's senders too.
    2. Lets a claim wait for that, never longer than `WATCHDOG_S`.
    3. When others were faster several times in a row, waits a random moment, so that idle workers do not race for ever.
    4. Where Redis refuses to tell, replaces the ring by trying every now and then, and says so once.
    """

    def __init__(self) -> None:
        self._ringing = asyncio.Event()
        self._is_told = False
        self._has_warned = False
        self._silent_keys: frozenset[bytes] = frozenset()
        self._misses = 0

    async def install(self, connection: Connection, silent_keys: frozenset[bytes]) -> None:
        """Ask Redis to tell of changes; those to `silent_keys`, which claims read as well, do not ring."""
        self._silent_keys = silent_keys
        try:
            # OPTIN: only of what the claim script reads, not of every key that other commands of ours touch.
            await connection.call("CLIENT", "TRACKING", "ON", "OPTIN")
            self._is_told = True
        except ReplyError as error:
            self._is_told = False
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "Redis refuses CLIENT TRACKING (%s): new messages are looked for every %d to %d ms instead;"
                    " allow it, for less load and less delay",
                    error,
                    _POLL_FIRST_S * 1000,
                    _POLL_LONGEST_S * 1000,
                )

    @property
    def is_told(self) -> bool:
        """Whether Redis tells of changes; else the script need not be watched."""
        return self._is_told

    def on_push(self, push: list[Any]) -> None:
        """Take a push message of the connection."""
        if push[0] == b"invalidate":
            keys = push[1]  # None: all of them, after FLUSHDB
            if keys is None or not self._silent_keys.issuperset(keys):
                self._ringing.set()

    def ring(self) -> None:
        """End a wait, or the next one."""
        self._ringing.set()

    def arm(self) -> None:
        """Forget rings; to be called right before a claim is sent."""
        self._ringing.clear()

    def served(self) -> None:
        """Take note that a claim brought something."""
        self._misses = 0

    async def wait(self, longest_s: float) -> None:
        """Wait for a ring after a claim that brought nothing, at most `longest_s` seconds."""
        self._misses += 1
        if not self._is_told:
            longest_s = min(longest_s, _POLL_LONGEST_S, _POLL_FIRST_S * 2 ** min(self._misses - 1, 10))
        try:
            async with asyncio.timeout(min(longest_s, WATCHDOG_S)):
                await self._ringing.wait()
        except TimeoutError:
            if self._is_told:
                self._misses = 0
            return
        if self._misses > _FREE_MISSES:
            growing_s = _MISS_PAUSE_S * 2 ** min(self._misses - _FREE_MISSES, 10)
            await asyncio.sleep(random.uniform(0, min(growing_s, _MISS_PAUSE_LONGEST_S)))
