"""Deadlines for drivers that have none: who waits too long for an answer finds the connection cut."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_TICK_S: Final = 0.1
_IDLE_TICKS: Final = 50


class Call:
    """One call to the database."""

    def __init__(self, until: float) -> None:
        self.until: Final = until
        """Monotonic seconds."""
        self.connection: Any = None
        """The driver's connection that it uses just now."""
        self.connected = False
        """Whether that was made for this call."""
        self.cut = False
        """Whether its time was over before it ended."""


class Watchdog:
    """Cuts the connections of calls whose time is over. Thread-safe; not for children made by fork.

    Its one daemon thread is there while there are calls, and ends by itself a while after the last one.  Cutting means to shut the
    socket down, which wakes the thread that waits for an answer with an error of its driver.  A driver that does not show its
    socket keeps the time by itself, as it is told when it connects.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: set[Call] = set()
        self._thread: threading.Thread | None = None
        self._here = threading.local()

    @contextmanager
    def watch(self, until: float) -> Iterator[Call]:
        """Watch over what the `with` block does in this thread, until monotonic time `until`."""
        call = Call(until)
        outer, self._here.call = self.current, call
        with self._lock:
            self._calls.add(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="celeriac-database-deadlines", daemon=True)
                self._thread.start()
        try:
            yield call
        finally:
            with self._lock:
                self._calls.discard(call)
            self._here.call = outer

    @property
    def current(self) -> Call | None:
        """The call of this thread."""
        found: Call | None = getattr(self._here, "call", None)
        return found

    def _run(self) -> None:
        idle = 0
        while idle < _IDLE_TICKS:
            time.sleep(_TICK_S)
            now = time.monotonic()
            with self._lock:
                idle = 0 if self._calls else idle + 1
                for call in self._calls:
                    if now > call.until:
                        call.cut = True
                        _shut_down(call.connection)  # at every tick: it may have another connection by now
                if idle >= _IDLE_TICKS:
                    self._thread = None


def _shut_down(connection: Any) -> None:
    descriptor_of = getattr(connection, "fileno", None)
    if descriptor_of is None:
        return
    # Whatever is wrong with the connection by now: the call that waits will see it.
    with contextlib.suppress(Exception):
        with socket.socket(fileno=os.dup(descriptor_of())) as twin:
            twin.shutdown(socket.SHUT_RDWR)
