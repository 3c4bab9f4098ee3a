"""The file for synchronous callers: any thread, also in a child made by fork."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from celeriac.exceptions import OperationalError
from celeriac.transports.sqlite.database import Database

T = TypeVar("T")


class _Session:
    """A connection and its lock, of one process."""

    def __init__(self, path: str, unavailable: type[OperationalError]) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.database = Database(path, unavailable)


class SharedDatabase:
    """One connection that the threads of a process share. Thread-safe, blocking.

    1. Lets one thread at a time use the connection; waiting for it counts against the caller's deadline.
    2. Makes a new connection, with a new lock, in a child made by fork.
    """

    def __init__(self, path: str, unavailable: type[OperationalError]) -> None:
        self._path = path
        self._unavailable = unavailable
        self._session = _Session(path, unavailable)
        # SQLite forbids even to close a connection in a child that inherited it: it would take the parent's locks away.
        self._inherited: list[_Session] = []

    def write(self, work: Callable[[sqlite3.Connection], T], timeout_s: float) -> T:
        """As `Database.write`, durable."""
        return self._use(lambda database, left_s: database.write(work, left_s), timeout_s)

    def read(self, work: Callable[[sqlite3.Connection], T], timeout_s: float) -> T:
        """As `Database.read`."""
        return self._use(lambda database, left_s: database.read(work, left_s), timeout_s)

    def close(self) -> None:
        """Close the connection; idempotent. The next call opens a new one."""
        session = self._mine()
        with session.lock:
            session.database.close()

    def _use(self, work: Callable[[Database, float], T], timeout_s: float) -> T:
        until = time.monotonic() + timeout_s
        session = self._mine()
        if not session.lock.acquire(timeout=timeout_s):
            raise self._unavailable(f"{self._path}: other threads of this process kept it busy for {timeout_s:g} s")
        try:
            return work(session.database, max(0.0, until - time.monotonic()))
        finally:
            session.lock.release()

    def _mine(self) -> _Session:
        session = self._session
        if session.pid != os.getpid():
            self._inherited.append(session)
            session = self._session = _Session(self._path, self._unavailable)
        return session
