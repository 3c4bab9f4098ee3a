"""One relay at a time on a database that is a file, and so cannot lock rows."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class RelayTurn:
    """Lets one relay work on a SQLite database at a time, by a lock beside its file.

    SQLite's own locks cover the whole file: the program could not write while a broker takes its time.  Thread-safe.
    """

    def __init__(self) -> None:
        self._here = threading.Lock()
        """Between the relays of this process, for databases in memory."""

    @contextmanager
    def taken(self, database: str) -> Iterator[bool]:
        """Tell whether this relay is the only one on a database (its file, or empty), and keep it so within the block.

        The kernel frees the lock of a process that dies.  Does not wait.
        """
        if not self._here.acquire(blocking=False):
            yield False
            return
        try:
            if not database or ":memory:" in database or "mode=memory" in database:
                yield True
                return
            lock = f"{database.removeprefix('file:').partition('?')[0]}-outbox-lock"
            file = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
                yield True
            finally:
                os.close(file)
        finally:
            self._here.release()
