"""Keeping the lease, and the housekeeping that any worker does for all."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from celeriac.core.message import Revocation
from celeriac.core.ports import Consumer
from celeriac.worker.link import Link

MAINTAIN_MAX_S: Final = 1.0
"""Longest pause between two rounds of housekeeping."""


class Lease:
    """Duties: 1. renew the lease in time, whatever the tasks do; 2. say when it was lost; 3. do the broker's housekeeping when
    it is due; 4. bring revocations.
    """

    def __init__(
        self,
        consumer: Consumer,
        link: Link,
        heartbeat_s: float,
        lease_s: float,
        on_lost: Callable[[], None],
        on_sure: Callable[[], None],
        on_revocations: Callable[[Sequence[Revocation]], None],
    ) -> None:
        self._consumer = consumer
        self._link = link
        self._heartbeat_s = heartbeat_s
        self._on_lost = on_lost
        self._on_sure = on_sure
        self._on_revocations = on_revocations
        self._nudged = asyncio.Event()
        self._lease_s = lease_s
        self._good_until = math.inf

    def nudge(self) -> None:
        """Do the housekeeping soon: something may be due."""
        self._nudged.set()

    @property
    def in_doubt(self) -> bool:
        """Whether the lease may have run out by now: it was not renewed for so long, because this process or the broker stood still."""
        return time.monotonic() > self._good_until

    @property
    def overdue_s(self) -> float:
        """For how long the lease has been in doubt; 0 while it is not."""
        return max(0.0, time.monotonic() - self._good_until)

    async def renew(self) -> None:
        """Renew until cancelled."""
        asked_at = 0.0

        async def ask() -> bool:
            nonlocal asked_at
            asked_at = time.monotonic()  # not before: the connection may have been waited for longer than a lease lasts
            return await self._consumer.heartbeat()

        while True:
            if not await self._link.call(ask):
                self._on_lost()
            doubted, self._good_until = self.in_doubt, asked_at + self._lease_s
            if doubted and not self.in_doubt:
                self._on_sure()
            await asyncio.sleep(self._heartbeat_s)

    async def maintain(self) -> None:
        """Keep house until cancelled."""
        while True:
            revocations = await self._link.call(self._consumer.revocations)
            if revocations:
                self._on_revocations(revocations)
            pause_s = min(await self._link.call(self._consumer.maintain), MAINTAIN_MAX_S)
            self._nudged.clear()
            try:
                # Not wait_for: up to Python 3.11 that may swallow a cancellation.
                async with asyncio.timeout(max(pause_s, 0.001)):
                    await self._nudged.wait()
            except TimeoutError:
                continue
