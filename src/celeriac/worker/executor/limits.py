"""Soft time limits: `SoftTimeLimitExceeded` raised inside a synchronous task that runs too long.

In the main thread by a timer signal; in other threads by an asynchronous exception, which Python raises between two of its
instructions.  Neither reaches into a call of C code; the hard limit does, because the core kills the process.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from types import FrameType, TracebackType
from typing import Final, Self

from celeriac.exceptions import SoftTimeLimitExceeded

SCAN_EVERY_S: Final = 0.1
"""How often the threads' deadlines are looked at."""


class MainThreadLimit:
    """A soft limit for the task that the main thread runs; reused from task to task."""

    def __init__(self) -> None:
        self._limit_s = 0.0
        self._armed = False
        signal.signal(signal.SIGALRM, self._expire)

    def __call__(self, limit_s: float | None) -> AbstractContextManager[object]:
        """Return the guard for one run, `limit_s` in seconds."""
        if limit_s is None:
            return nullcontext()
        self._limit_s = limit_s
        return self

    def __enter__(self) -> None:
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, self._limit_s)

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _expire(self, _signum: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise SoftTimeLimitExceeded(self._limit_s)


class ThreadLimits:
    """Soft limits for tasks that run in threads.

    Duties of its one daemon thread, which the first limit starts: 1. look at the deadlines every `SCAN_EVERY_S`; 2. raise in
    the threads that are over.  `close` ends it; later limits are not kept.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, tuple[float, float]] = {}
        self._fired: set[int] = set()
        self._closed = threading.Event()
        self._scanner: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and wait for it. Idempotent, thread-safe."""
        self._closed.set()
        with self._lock:
            scanner = self._scanner
        if scanner is not None:
            scanner.join()

    def __call__(self, limit_s: float | None) -> AbstractContextManager[object]:
        """Return the guard for one run in the calling thread, `limit_s` in seconds."""
        return nullcontext() if limit_s is None else _ThreadGuard(self, limit_s)

    def enter(self, limit_s: float) -> None:
        """Begin to watch the calling thread."""
        with self._lock:
            if self._scanner is None and not self._closed.is_set():
                scanner = threading.Thread(target=self._scan, name="celeriac-soft-limits", daemon=True)
                scanner.start()
                self._scanner = scanner
            self._running[threading.get_ident()] = (time.monotonic() + limit_s, limit_s)

    def leave(self) -> None:
        """Stop watching the calling thread, and take back an exception that it has not felt yet."""
        thread = threading.get_ident()
        with self._lock:
            self._running.pop(thread, None)
            if thread in self._fired:
                self._fired.discard(thread)
                _raise_in(thread, None)

    def _scan(self) -> None:
        while not self._closed.wait(SCAN_EVERY_S):
            now = time.monotonic()
            with self._lock:
                over = [thread for thread, (deadline, _limit) in self._running.items() if deadline <= now]
                for thread in over:
                    del self._running[thread]
                    self._fired.add(thread)
                    _raise_in(thread, SoftTimeLimitExceeded)


class _ThreadGuard:
    def __init__(self, limits: ThreadLimits, limit_s: float) -> None:
        self._limits = limits
        self._limit_s = limit_s

    def __enter__(self) -> None:
        self._limits.enter(self._limit_s)

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._limits.leave()


def _raise_in(thread: int, exception: type[BaseException] | None) -> None:
    """Raise `exception` in a thread at its next instruction; None takes back what has not been raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(exception) if exception is not None else None
    )
