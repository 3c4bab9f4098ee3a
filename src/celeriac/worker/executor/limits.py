"""Soft time limits, and other exceptions raised inside a synchronous task that runs: `SoftTimeLimitExceeded`, `Terminated`.

In the main thread by a timer signal; in other threads by an asynchronous exception, which Python raises between two of its
instructions.  Neither reaches into a call of C code; the hard limit does, because the core kills the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Final, Self

from celeriac.exceptions import SoftTimeLimitExceeded
from celeriac.worker.executor.cancelling import SOFT

SCAN_EVERY_S: Final = 0.1
"""How often the threads' deadlines are looked at."""


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Keep limits from striking in the calling thread meanwhile: half a report, say, would spoil all that follow."""
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, SOFT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


class MainThreadLimit:
    """A soft limit for the task that the main thread runs; reused from task to task.

    SIGUSR1 raises the same exception in it, without waiting for the limit.  The timer is set anew for each task, and not taken back
    after it: one that runs out later finds no task armed (a system call less for each, of 1 us).
    """

    def __init__(self) -> None:
        self._limit_s = 0.0
        self._armed = False
        """The timer counts for the task that runs."""
        self._ticking = False
        """It was set, for this task or an earlier one."""
        self._guarded = False
        signal.signal(signal.SIGALRM, self._expire)
        signal.signal(SOFT, self._interrupt)

    def __call__(self, limit_s: float | None) -> AbstractContextManager[object]:
        """Return the guard for one run, `limit_s` in seconds."""
        self._limit_s = limit_s or 0.0
        return self

    def __enter__(self) -> None:
        self._guarded = True
        if self._limit_s:
            signal.setitimer(signal.ITIMER_REAL, self._limit_s)
            self._ticking = self._armed = True
        elif self._ticking:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._ticking = False

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._guarded = self._armed = False

    def _expire(self, _signum: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise SoftTimeLimitExceeded(self._limit_s)

    def _interrupt(self, _signum: int, _frame: FrameType | None) -> None:
        if self._guarded:
            raise SoftTimeLimitExceeded


class ThreadLimits:
    """Soft limits for tasks that run in threads.

    Duties of its one daemon thread, which the first limit starts: 1. look at the deadlines every `SCAN_EVERY_S`; 2. raise in
    the threads that are over.  `close` ends it; later limits are not kept.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._running: dict[int, tuple[float, float]] = {}
        self._guarded: set[int] = set()
        """Threads whose task runs: an exception may be raised in them."""
        self._fired: set[int] = set()
        self._pending: dict[int, type[BaseException]] = {}
        """What is raised in a thread as soon as its task runs."""
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
        return _ThreadGuard(self, limit_s)

    def enter(self, limit_s: float | None) -> None:
        """Begin to watch the calling thread. Raises what was to be raised in it already."""
        thread = threading.get_ident()
        with self._lock:
            pending = self._pending.pop(thread, None) if self._pending else None
            self._guarded.add(thread)
            if limit_s is not None:
                self._start_scanner()
                self._running[thread] = (self._monotonic() + limit_s, limit_s)
        if pending is not None:
            self.leave()
            raise pending

    def _start_scanner(self) -> None:
        if self._scanner is None and not self._closed.is_set():
            scanner = threading.Thread(target=self._scan, name="celeriac-soft-limits", daemon=True)
            scanner.start()
            self._scanner = scanner

    def interrupt(self, thread: int, exception: type[BaseException], is_meant: Callable[[], bool]) -> None:
        """Raise an exception in the task of a thread, at once or as soon as it runs, if `is_meant` still says so."""
        with self._lock:
            if not is_meant():
                return
            if thread in self._guarded:
                self._fired.add(thread)
                _raise_in(thread, exception)
            else:
                self._pending[thread] = exception

    def forget(self, thread: int) -> None:
        """Note that the calling thread's job is over: what was to be raised in it is not meant for the next one."""
        if self._pending:
            with self._lock:
                self._pending.pop(thread, None)
        if thread in self._guarded:  # an exception has struck before the first instruction of the guard's end
            self.leave()

    def leave(self) -> None:
        """Stop watching the calling thread, and take back an exception that it has not felt yet."""
        thread = threading.get_ident()
        with self._lock:
            self._guarded.discard(thread)
            self._running.pop(thread, None)
            fired = thread in self._fired
            self._fired.discard(thread)
        if fired:
            # Another one in its place, felt here. To take it back by None would leave CPython 3.11's flag of pending exceptions up
            # for good: all threads slower, and an endless loop under coverage or a debugger.
            with contextlib.suppress(_TakenBack):
                _raise_in(thread, _TakenBack)
                threading.get_ident()

    def _scan(self) -> None:
        while not self._closed.wait(SCAN_EVERY_S):
            self.look()

    def look(self) -> list[int]:
        """Raise in the threads that are over their limit, and return them."""
        now = self._monotonic()
        with self._lock:
            over = [thread for thread, (deadline, _limit) in self._running.items() if deadline <= now]
            for thread in over:
                del self._running[thread]
                self._fired.add(thread)
                _raise_in(thread, SoftTimeLimitExceeded)
        return over


class _TakenBack(BaseException):
    """Takes the place of an exception that came too late."""


class _ThreadGuard:
    def __init__(self, limits: ThreadLimits, limit_s: float | None) -> None:
        self._limits = limits
        self._limit_s = limit_s

    def __enter__(self) -> None:
        self._limits.enter(self._limit_s)

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        try:
            self._limits.leave()
        except BaseException:  # struck by the very exception that it was to take back
            self._limits.leave()
            raise


def _raise_in(thread: int, exception: type[BaseException]) -> None:
    """Raise `exception` in a thread at its next instruction, in the place of one that it has not felt yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(exception))
