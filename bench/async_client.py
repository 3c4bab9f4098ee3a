"""The same for libraries whose client is made for coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from bench.client import BATCH, CALLERS, Client, Unsupported, delays


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):  # it is there where the library's documentation names it
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        return factory
    return None


class AsyncClient(Client):
    """A client of coroutines, in one event loop that lives as long as it."""

    fetchers = CALLERS
    """Coroutines that wait for results at a time."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=_loop_factory())
        self._runner.run(self.open())

    # -- what a library has to say --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect."""

    async def asend(self, task: str, *arguments: Any) -> Any:
        """As `send`."""
        raise NotImplementedError

    async def asend_later(self, delay_s: float, task: str, *arguments: Any) -> None:
        """As `send_later`."""
        self._lacks("delayed tasks")

    async def asend_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """As `send_many`."""
        self._lacks("a batch call")

    async def avalue(self, handle: Any) -> Any:
        """Fetch one result."""
        self._lacks("results")

    async def aclose(self) -> None:
        """Close all connections."""

    # -- what is measured -----------------------------------------------------------------------------------------

    def send(self, task: str, *arguments: Any) -> Any:
        """Send one task, alone in the loop."""
        return self._run(self.asend(task, *arguments))

    def one_by_one(self, count: int) -> None:
        """One coroutine awaits each call."""

        async def send() -> None:
            for _ in range(count):
                await self.asend("noop", time.monotonic())

        self._run(send())

    def batch(self, count: int) -> None:
        """As for all clients."""

        async def send() -> None:
            for start in range(0, count, BATCH):
                size = min(BATCH, count - start)
                await self.asend_many("noop", [(time.monotonic(),) for _ in range(size)])

        self._run(send())

    def gather(self, count: int) -> None:
        """Share the calls out among `CALLERS` coroutines, each of which awaits its own one by one."""
        self._run(self._shared_out(count, lambda _number: self.asend("noop", time.monotonic())))

    def round_trip(self, count: int) -> None:
        """Send in a batch, or else from `CALLERS` coroutines, then wait for all results from `fetchers`."""
        try:
            handles = self._run(self.asend_many("answer", [(number,) for number in range(count)]))
        except Unsupported:
            handles = self._run(self._shared_out(count, lambda number: self.asend("answer", number)))
        fetching = self._shared_out(count, lambda number: self.avalue(handles[number]), self.fetchers)
        self.check(count, self._run(fetching))

    def paced(self, count: int, rate_per_s: float) -> None:
        """As for all clients."""

        async def send() -> None:
            began = time.monotonic()
            for number in range(count):
                await asyncio.sleep(max(0.0, began + number / rate_per_s - time.monotonic()))
                await self.asend("noop", time.monotonic())

        self._run(send())

    def later(self, count: int, least_s: float, most_s: float) -> None:
        """As for all clients."""

        async def send() -> None:
            for delay_s in delays(count, least_s, most_s):
                await self.asend_later(delay_s, "noop", time.monotonic() + delay_s)

        self._run(send())

    def close(self) -> None:
        """Close all connections, and the loop."""
        self._run(self.aclose())
        self._runner.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    async def _shared_out(
        self, count: int, call: Callable[[int], Coroutine[Any, Any, Any]], callers: int = CALLERS
    ) -> list[Any]:
        found: list[Any] = [None] * count

        async def caller(first: int) -> None:
            for number in range(first, count, callers):
                found[number] = await call(number)

        await asyncio.gather(*(caller(first) for first in range(min(callers, count))))
        return found
