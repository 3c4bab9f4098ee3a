"""One thread in which blocking calls run, for an event loop that must never block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class OneThread:
    """Runs calls one at a time and in their order. The thread starts with the first call and ends with `close`.

    A caller that is cancelled does not stop what has begun: everything that is run here may be run again.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread and return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self._opened(), work)

    def post(self, work: Callable[[], None]) -> None:
        """Run `work` in the thread some time; it must not raise."""
        self._opened().submit(work)

    async def close(self, last: Callable[[], None]) -> None:
        """Run what was asked for, then `last`, and end the thread; idempotent."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        await asyncio.get_running_loop().run_in_executor(executor, last)
        await asyncio.to_thread(executor.shutdown)

    def _opened(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        return self._executor
