"""Event loops that can tell when they have nothing to do, in real time or by a test's clock."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import selectors
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from celeriac.testing.stillness import Stillness

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class WatchedLoop(asyncio.SelectorEventLoop):
    """A loop that is still while it waits in its selector with nothing to read and nothing handed to it.

    What it waits for in real time (heartbeats, polls) makes it busy for a moment when the time has come, no more.
    """

    def __init__(self, stillness: Stillness) -> None:
        self._stillness = stillness
        self._still = False
        self._abandoned = False
        self._handing = 0
        """Threads that are just handing something over."""
        self._handed = 0
        """How often something was handed over."""
        self._outside = 0
        """Calls that run in other threads for this loop."""
        super().__init__(_Selector(self))

    def is_still(self) -> bool:
        """Tell whether it has nothing to do; with the lock held."""
        return self._still and not self._handing and not self._outside

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As any loop's; the loop is busy before this returns."""
        with self._stillness.lock:
            self._still = False
            self._handing += 1
        try:
            return super().call_soon_threadsafe(callback, *args, context=context)
        finally:
            with self._stillness.lock:
                self._handing -= 1
                self._handed += 1

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As any loop's; the loop is busy until the call is back."""
        with self._stillness.lock:
            self._outside += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _future: asyncio.Future[Any]) -> None:
        with self._stillness.lock:
            self._outside -= 1

    def abandon(self) -> None:
        """Never run anything more: the process that this loop stands for was killed. Its thread stays behind."""
        self._abandoned = True
        self.call_soon_threadsafe(_nothing)

    def look(self, inner: selectors.BaseSelector, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Select, and be still for as long as that has to wait."""
        if self._abandoned:
            block_for_ever()
        if timeout is not None and timeout <= 0:
            return inner.select(timeout)
        handed = self._handed
        events = inner.select(0)
        if events:
            return events
        with self._stillness.lock:
            if self._handing or self._handed != handed:
                return []  # something has come since we looked
            self._rest(timeout)
            self._still = True
            self._stillness.note()
        try:
            return inner.select(self._real(timeout))
        finally:
            with self._stillness.lock:
                self._still = False

    def _rest(self, timeout: float | None) -> None:
        """Called with the lock held when it begins to wait."""

    def _real(self, timeout: float | None) -> float | None:
        return timeout


class VirtualLoop(WatchedLoop):
    """A loop whose time is a test's clock: `asyncio.sleep(3600)` in it ends when the test has moved the clock by an hour."""

    def __init__(self, stillness: Stillness, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.next_at: float | None = None
        """When (monotonic) its next timer is due, while it is still."""
        super().__init__(stillness)

    def time(self) -> float:
        """Return the clock's monotonic time."""
        return self._monotonic()

    def _rest(self, timeout: float | None) -> None:
        self.next_at = None if timeout is None else self._monotonic() + timeout

    def _real(self, timeout: float | None) -> float | None:
        return None  # whoever moves the clock wakes it

    def is_alive(self) -> bool:
        """Tell whether it may still run something."""
        return not (self._abandoned or self.is_closed())

    def clock_moved(self) -> None:
        """Look at the timers again. Thread-safe."""
        if self.is_alive():
            try:
                self.call_soon_threadsafe(_nothing)
            except RuntimeError:
                return  # it was closed just now


class _Selector(selectors.BaseSelector):
    """A selector that lets its loop know when it is going to wait."""

    def __init__(self, loop: WatchedLoop) -> None:
        self._loop = loop
        self._inner = selectors.DefaultSelector()

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._loop.look(self._inner, timeout)

    def close(self) -> None:
        self._inner.close()

    def get_key(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._inner.get_key(fileobj)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._inner.get_map()


def block_for_ever() -> None:
    """Never return: for daemon threads that stand for a process which was killed."""
    lock = threading.Lock()
    lock.acquire()
    while True:
        with contextlib.suppress(BaseException):  # raised in this thread from outside, too late to matter
            lock.acquire()


def _nothing() -> None:
    return None
