"""What an app does beside its program: one thread with an event loop for all letters of a process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from celeriac.exceptions import BrokerUnavailable

T = TypeVar("T")


class BackgroundLoop:
    """A daemon thread that runs an event loop, started when it is first needed. Thread-safe.

    A forked child makes its own: see `Connections`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run a coroutine in the loop and return its future. Raises `BrokerUnavailable` when the app was closed."""
        with self._lock:  # so that `close` sees whatever was begun before it
            loop = self._running()
            return asyncio.run_coroutine_threadsafe(work(), loop)

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the loop and wait for it; it has to have a deadline of its own.

        Raises what it raises, and as `submit`, also when the app is closed meanwhile.
        """
        try:
            return self.submit(work).result()
        except CancelledError:
            raise BrokerUnavailable("the app was closed") from None

    def close(self, timeout_s: float) -> None:
        """Cancel what still runs and end the thread. Idempotent, blocking up to `timeout_s` seconds."""
        with self._lock:
            self._closed = True
            thread, loop = self._thread, self._loop
        if thread is not None and loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout_s)

    def _running(self) -> asyncio.AbstractEventLoop:
        """Return the loop, started if need be; with the lock held."""
        if self._closed:
            raise BrokerUnavailable("the app was closed")
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
        return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.close()
