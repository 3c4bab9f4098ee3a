"""A connection to the file: opening, transactions with a deadline, and SQLite's errors in plain words."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable
from typing import Final, TypeVar

from celeriac.exceptions import BrokerFull, BrokerUnavailable, ImproperlyConfigured, OperationalError
from celeriac.transports.sqlite.location import check_file_system, create_file
from celeriac.transports.sqlite.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION

T = TypeVar("T")
Version = tuple[int, int, int]
"""Changes whenever the file has changed: another connection of ours, commits of others, rows changed by ourselves."""

OLDEST_SQLITE: Final = (3, 35)
"""For `RETURNING`."""
BUSY_PAUSE_S: Final = (0.0005, 0.003)
"""Between two attempts to get the write lock; SQLite's own back-off grows to 100 ms, far longer than our transactions."""
WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
CACHE_KIB: Final = 8 * 1024

_CURES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; make room",
    sqlite3.SQLITE_READONLY: "it cannot be written; give this user the right to write the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; give this user the right to write the file and its directory",
    sqlite3.SQLITE_PERM: "access was refused; give this user the right to write the file and its directory",
    sqlite3.SQLITE_IOERR: "reading or writing failed; see whether the disk or this user's quota is full, or the disk broken",
    sqlite3.SQLITE_CORRUPT: "it is damaged; move it away, with its -wal and -shm files, and a new one is made",
}


class Database:
    """One connection to the file, made when first needed and anew after a failure. For one thread at a time.

    1. Creates file and tables, brings the tables of older versions up to date, and refuses a file that is not ours.
    2. Runs transactions, and waits for other writers until a deadline.
    3. Notices that the file was removed or replaced under it, and turns to the new one.
    4. Says what went wrong in words that name the file and the cure: what may pass raises the `OperationalError` it was
       made with (`BrokerUnavailable`, `BackendUnavailable`), what will not raises `ImproperlyConfigured`.
    """

    def __init__(self, path: str, unavailable: type[OperationalError]) -> None:
        self.path = path
        self._unavailable = unavailable
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._opened = 0
        self._durable = True

    def write(self, work: Callable[[sqlite3.Connection], T], timeout_s: float, *, durable: bool = True) -> T:
        """Run `work` as one transaction that may write; wait up to `timeout_s` seconds for other writers.

        `durable`: it survives a power failure from the moment of return, at the cost of a disk flush.  Without, it
        survives the death of any process, and a power failure may undo the last transactions, never a part of one.
        """
        return self._transaction("BEGIN IMMEDIATE", work, timeout_s, durable)

    def read(self, work: Callable[[sqlite3.Connection], T], timeout_s: float) -> T:
        """Run `work` as one transaction that only reads; it sees one state of the file and hinders nobody."""
        return self._transaction("BEGIN", work, timeout_s, self._durable)

    def version(self, timeout_s: float) -> Version:
        """Return a value that differs from an earlier one if the file has changed since. Takes no lock; microseconds."""

        def look() -> Version:
            connection = self._connected(self._durable)
            return self._opened, connection.execute("PRAGMA data_version").fetchone()[0], connection.total_changes

        return self._insist(look, timeout_s)

    def close(self) -> None:
        """Close the connection; idempotent. The next call opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _transaction(self, begin: str, work: Callable[[sqlite3.Connection], T], timeout_s: float, durable: bool) -> T:
        def attempt() -> T:
            connection = self._connected(durable)
            connection.execute(begin)
            try:
                result = work(connection)
                connection.execute("COMMIT")
                return result
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

        return self._insist(attempt, timeout_s)

    def _insist(self, attempt: Callable[[], T], timeout_s: float) -> T:
        """Attempt again while others hold the lock, until the deadline; explain any other failure."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                return attempt()
            except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError):
                raise  # a mistake of ours, none of the world
            except (sqlite3.OperationalError, sqlite3.DatabaseError, OSError) as error:
                if not _is_busy(error):
                    self.close()
                elif time.monotonic() < until:
                    time.sleep(random.uniform(*BUSY_PAUSE_S))
                    continue
                raise self._explained(error, timeout_s) from error

    def _connected(self, durable: bool) -> sqlite3.Connection:
        if self._connection is not None and self._was_replaced():
            self.close()  # SQLite sees for itself that its file has no name any more, and leaves the new one alone
        if self._connection is None:
            self._connection = self._open()
            self._opened += 1
            self._durable = True
        if durable != self._durable:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        return self._connection

    def _was_replaced(self) -> bool:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != self._identity

    def _open(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise ImproperlyConfigured(
                f"the embedded broker needs SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer; this Python"
                f" has {sqlite3.sqlite_version}. Use a newer Python, Redis or RabbitMQ"
            )
        check_file_system(self.path)
        create_file(self.path)
        # No waiting inside SQLite (timeout=0): `_transaction` waits, by its own deadline.
        connection = sqlite3.connect(
            self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            self._prepare(connection)
            found = os.stat(self.path)
        except BaseException:
            connection.close()
            raise
        self._identity = (found.st_dev, found.st_ino)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA secure_delete = FAST")
        connection.execute("BEGIN")  # so that what it reads belongs together, while another process makes the tables
        try:
            found = self._format(connection)
        finally:
            connection.execute("ROLLBACK")
        if found < SCHEMA_VERSION:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise ImproperlyConfigured(
                    f"{self.path}: this file system does not carry SQLite's write-ahead log (got {mode!r});"
                    " put the file on a local disk"
                )
            connection.execute("BEGIN IMMEDIATE")
            for version in range(
                self._format(connection), SCHEMA_VERSION
            ):  # asked again: now nobody else can change it
                for statement in MIGRATIONS[version]:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")

    def _format(self, connection: sqlite3.Connection) -> int:
        """Return the version of our file, 0 for an empty one; raise `ImproperlyConfigured` for any other."""
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if application == APPLICATION_ID and 0 < version <= SCHEMA_VERSION:
            return version
        if application == APPLICATION_ID:
            raise ImproperlyConfigured(
                f"{self.path} was made by a newer version of Celeriac (its format is {version}, ours {SCHEMA_VERSION});"
                " upgrade this one, or name another file"
            )
        if application or version or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise ImproperlyConfigured(f"{self.path} is another program's database; name another file")
        return 0

    def _explained(self, error: sqlite3.Error | OSError, timeout_s: float) -> Exception:
        if isinstance(error, OSError):
            return self._unavailable(f"{self.path}: {error.strerror or error}; see the rights of its directory")
        if _is_busy(error):
            return self._unavailable(
                f"{self.path}: another process did not give its lock back within {timeout_s:.2g} s; see whether one is"
                " stopped, or hangs"
            )
        code = _code(error)
        if code == sqlite3.SQLITE_NOTADB:
            return ImproperlyConfigured(f"{self.path} is no SQLite database; remove it, or name another file")
        cure = _CURES.get(code, "if it persists, move the file away, with its -wal and -shm files")
        if code == sqlite3.SQLITE_FULL and self._unavailable is BrokerUnavailable:
            return BrokerFull(f"{self.path}: {error}: {cure}")
        return self._unavailable(f"{self.path}: {error}: {cure}")


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code; an error that Python itself made has none and gives 0."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
