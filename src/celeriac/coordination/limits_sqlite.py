"""Limits kept in the SQLite file, one transaction for each call."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import msgspec

from celeriac.coordination.limits_book import Book, Owners
from celeriac.core.limits import Answer, Hold, Line, Question, Renewal, Terms
from celeriac.core.message import Delayed
from celeriac.core.rates import Pace
from celeriac.core.settings import Settings
from celeriac.exceptions import CoordinationUnavailable
from celeriac.transports.sqlite.database import Database
from celeriac.transports.sqlite.location import path_of
from celeriac.transports.sqlite.shared import SharedDatabase
from celeriac.transports.sqlite.thread import DatabaseThread

T = TypeVar("T")

KEEP_S: Final = 3600.0
TIDIED_AT_ONCE: Final = 500

# Made by whoever needs them first: most files never do.
_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS limits (
        kind TEXT NOT NULL,             -- owners, line or pace
        key TEXT NOT NULL,
        forgotten_at REAL NOT NULL,     -- Unix seconds; from then on a new one would be the same
        state BLOB NOT NULL,            -- the struct of that kind in MessagePack
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS limits_forgotten ON limits (forgotten_at)",
    "CREATE TABLE IF NOT EXISTS limit_rates (task TEXT PRIMARY KEY, rate TEXT NOT NULL) WITHOUT ROWID",
)
_NEVER: Final = 1e300
_ENCODER: Final = msgspec.msgpack.Encoder()


class _Shelf:
    """Reads what is asked for from the tables, and writes all of that back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        for statement in _TABLES:
            connection.execute(statement)
        self._connection = connection
        self._owners: Owners | None = None
        self._lines: dict[str, Line] = {}
        self._paces: dict[str, Pace] = {}

    def owners(self) -> Owners:
        if self._owners is None:
            self._owners = self._read("owners", "", Owners) or Owners()
        return self._owners

    def line(self, key: str) -> Line:
        if key not in self._lines:
            self._lines[key] = self._read("line", key, Line) or Line()
        return self._lines[key]

    def pace(self, key: str) -> Pace:
        if key not in self._paces:
            self._paces[key] = self._read("pace", key, Pace) or Pace()
        return self._paces[key]

    def _read(self, kind: str, key: str, of: type[T]) -> T | None:
        row = self._connection.execute("SELECT state FROM limits WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return msgspec.msgpack.decode(row[0], type=of) if row else None

    def save(self, now: float) -> None:
        """Write back what was read, and forget what is over."""
        rows: list[tuple[str, str, float, bytes]] = []
        if self._owners is not None:
            rows.append(("owners", "", _NEVER, _ENCODER.encode(self._owners)))
        for key, line in self._lines.items():
            rows.append(("line", key, _NEVER if line.holders or line.waiting else now, _ENCODER.encode(line)))
        for key, pace in self._paces.items():
            forgotten_at = max(pace.last + pace.interval_s, pace.next, pace.late, 0.0)
            rows.append(("pace", key, forgotten_at if math.isfinite(forgotten_at) else now, _ENCODER.encode(pace)))
        self._connection.executemany(
            "INSERT OR REPLACE INTO limits (kind, key, forgotten_at, state) VALUES (?, ?, ?, ?)", rows
        )

    def tidy(self, now: float) -> None:
        """Delete what a new one would be the same as."""
        self._connection.execute(
            "DELETE FROM limits WHERE (kind, key) IN"
            f" (SELECT kind, key FROM limits WHERE forgotten_at <= ? LIMIT {TIDIED_AT_ONCE})",
            (now,),
        )

    def rates(self) -> dict[str, str]:
        """Return the rates that were set at run time."""
        return _read_rates(self._connection)


def _read_rates(connection: sqlite3.Connection) -> dict[str, str]:
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'limit_rates'"
    if connection.execute(known).fetchone() is None:
        return {}  # nobody has set any
    return dict(connection.execute("SELECT task, rate FROM limit_rates").fetchall())


class SqliteLimits:
    """A `LimitStore` in a SQLite file. Belongs to one event loop, which it never blocks."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._lease_s = settings.worker_lease_s
        self._timeout_s = settings.publish_timeout_s
        self._thread = DatabaseThread(Database(path_of(url), CoordinationUnavailable), "celeriac-sqlite-limits")

    async def ask(
        self, owner: str, questions: Sequence[Question], terms: Terms, asked_at: float
    ) -> tuple[list[Answer], list[Delayed]]:
        """See `LimitStore.ask`."""

        def ask(book: Book, shelf: _Shelf) -> tuple[list[Answer], list[Delayed]]:
            shelf.tidy(time.time())
            return book.ask(owner, questions, terms, asked_at)

        return await self._transact(ask)

    async def free(self, owner: str, holds: Sequence[Hold]) -> list[Delayed]:
        """See `LimitStore.free`."""
        return await self._transact(lambda book, _: book.free(owner, holds))

    async def quit(self, places: Sequence[Hold]) -> list[Delayed]:
        """See `LimitStore.quit`."""
        return await self._transact(lambda book, _: book.quit(places))

    async def parked(self, places: Sequence[Hold]) -> list[Delayed]:
        """See `LimitStore.parked`."""
        return await self._transact(lambda book, _: book.parked(places))

    async def renew(self, owner: str, holds: Sequence[Hold], watched: Mapping[str, int]) -> Renewal:
        """See `LimitStore.renew`."""

        def renew(book: Book, shelf: _Shelf) -> Renewal:
            woken = book.renew(owner, holds, watched, KEEP_S)
            shelf.tidy(time.time())
            return Renewal(woken, shelf.rates())

        return await self._transact(renew)

    async def rates(self) -> dict[str, str]:
        """See `LimitStore.rates`."""
        return await self._thread.run(lambda database: database.read(_read_rates, self._timeout_s))

    async def leave(self, owner: str) -> None:
        """See `LimitStore.leave`."""
        await self._transact(lambda book, _: book.leave(owner))

    async def close(self) -> None:
        """Close the connection; idempotent."""
        await self._thread.close()

    async def _transact(self, work: Callable[[Book, _Shelf], T]) -> T:
        def transact(connection: sqlite3.Connection) -> T:
            now = time.time()
            shelf = _Shelf(connection)
            result = work(Book(shelf, self._lease_s, now), shelf)
            shelf.save(now)
            return result

        write = partial(_write, transact, self._timeout_s)
        return await self._thread.run(write)


def _write(transact: Callable[[sqlite3.Connection], T], timeout_s: float, database: Database) -> T:
    # As for claims: a power failure may take the last moments back, and the leases with them.
    return database.write(transact, timeout_s, durable=False)


class SqliteRateBoard:
    """A `RateBoard` in a SQLite file. Thread-safe, blocking."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._timeout_s = settings.publish_timeout_s
        self._database = SharedDatabase(path_of(url), CoordinationUnavailable)

    def set_rate(self, task: str, rate: str | None) -> None:
        """See `RateBoard.set_rate`."""

        def write(connection: sqlite3.Connection) -> None:
            for statement in _TABLES:
                connection.execute(statement)
            if rate is None:
                connection.execute("DELETE FROM limit_rates WHERE task = ?", (task,))
            else:
                connection.execute("INSERT OR REPLACE INTO limit_rates (task, rate) VALUES (?, ?)", (task, rate))

        self._database.write(write, self._timeout_s)

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._database.close()
