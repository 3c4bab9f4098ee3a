"""The database: one engine in each process, calls with a deadline, and errors that say what to do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as WaitedTooLong

from celeriac.backends.sqlalchemy import drivers, setup
from celeriac.backends.sqlalchemy.rows import Limits
from celeriac.backends.sqlalchemy.tables import Tables
from celeriac.backends.sqlalchemy.watchdog import Watchdog
from celeriac.core.settings import Settings
from celeriac.core.urls import mask
from celeriac.exceptions import BackendUnavailable, ImproperlyConfigured

T = TypeVar("T")
Work = Callable[[Connection, Limits], T]

_RACES_MAX: Final = 10
_PAUSE_S: Final = 0.005
_WRITING: Final = "celeriac_writing"


class Refused(BackendUnavailable):
    """The database is there, and does not take these values."""


class _Session:
    """What belongs to one process."""

    def __init__(self, url: URL, settings: Settings) -> None:
        self.watchdog = Watchdog()
        drivers.make_private(url)
        self.engine = make_engine(url, settings)
        self.limits: Limits | None = None
        """Known when the tables are there."""
        self.preparing = threading.Lock()
        watch_over(self.engine, self.watchdog)
        if settings.database_engine_callback is not None:
            settings.database_engine_callback(self.engine)


class Database:
    """One side's way to the database. Thread-safe, fork-safe, blocking.

    1. Makes the engine when it is first needed, and a new one in a child made by fork.
    2. Sees to it that the tables are there.
    3. Runs transactions, each within `database_timeout_s`.
    4. Repeats what lost a race with another transaction, and what met a connection that had died in the pool.
    """

    def __init__(self, url: URL, shown_url: str, settings: Settings, tables: Tables) -> None:
        self._url = url
        self._shown_url = shown_url
        self._settings = settings
        self.tables: Final = tables
        self._sessions: dict[int, _Session] = {}
        """By process.  Those of a parent are neither used nor closed here, because a farewell would end the parent's connection."""

    def read(self, work: Work[T]) -> T:
        """Run `work(connection, limits)` in a transaction and return what it returns.

        Raises `BackendUnavailable`; what has been raised has had no effect, unless the connection was lost while it committed.
        """
        return self._run(work, writing=False)

    def write(self, work: Work[T]) -> T:
        """As `read`, for what changes something; it may be run more than once. Raises also `Refused`."""
        return self._run(work, writing=True)

    def hold(self, begin: Callable[[Connection], T]) -> tuple[Connection, T]:
        """Return a connection outside of the pool, and what `begin(connection)` returned; the caller closes it.

        Raises `BackendUnavailable`.
        """
        session = self._mine()
        with session.watchdog.watch(time.monotonic() + self._settings.database_timeout_s):
            try:
                connection = session.engine.connect()
                try:
                    begun = begin(connection)
                    connection.detach()
                except BaseException:
                    connection.close()
                    raise
            except SQLAlchemyError as error:
                raise self._unavailable(error, None) from error
        return connection, begun

    @property
    def dialect(self) -> type[Dialect]:
        """What kind of database it is, and its driver."""
        return self._url.get_dialect()

    def close(self) -> None:
        """Close the connections; idempotent. The next call makes new ones."""
        session = self._sessions.get(os.getpid())
        if session is not None:
            session.engine.dispose()

    def _run(self, work: Work[T], *, writing: bool) -> T:
        session = self._mine()
        until = time.monotonic() + self._settings.database_timeout_s
        races = repairs = 0
        while True:
            with session.watchdog.watch(until) as call:
                try:
                    return self._once(session, work, writing, until)
                except SQLAlchemyError as error:
                    caught = error
            in_time = not call.cut and time.monotonic() < until
            if in_time and races < _RACES_MAX and drivers.lost_a_race(caught):
                races += 1
                time.sleep(_PAUSE_S * races)
            elif in_time and not repairs and _may_be_repaired(caught, new_connection=call.connected):
                repairs += 1
                if drivers.lacks_a_table(caught):
                    session.limits = None
            else:
                raise self._unavailable(caught, None if in_time else self._settings.database_timeout_s) from caught

    def _once(self, session: _Session, work: Work[T], writing: bool, until: float) -> T:
        limits = session.limits or self._prepare(session, until)
        with session.engine.connect() as connection:
            connection = connection.execution_options(**{_WRITING: writing})
            with connection.begin():
                return work(connection, limits)

    def _prepare(self, session: _Session, until: float) -> Limits:
        if not session.preparing.acquire(timeout=max(0.0, until - time.monotonic())):
            raise WaitedTooLong("another thread of this process is making the tables")
        try:
            if session.limits is None:
                with session.engine.connect() as connection:
                    connection = connection.execution_options(**{_WRITING: True})
                    with connection.begin():
                        session.limits = setup.prepare(connection, self.tables)
            return session.limits
        finally:
            session.preparing.release()

    def _mine(self) -> _Session:
        # No lock, which a child could inherit locked: of two that are made at once one is never used.
        pid = os.getpid()
        return self._sessions.get(pid) or self._sessions.setdefault(pid, _Session(self._url, self._settings))

    def _unavailable(self, error: SQLAlchemyError, late_s: float | None) -> BackendUnavailable:
        kind = Refused if isinstance(error, DataError | IntegrityError) else BackendUnavailable
        if late_s is not None:
            return BackendUnavailable(f"the database {self._shown_url} gave no answer within {late_s:g} s")
        what = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        text = mask(str(what)).strip().partition("\n")[0]
        return kind(f"the database {self._shown_url}: {type(what).__name__}: {text}{_advice(error)}")


def make_engine(url: URL, settings: Settings) -> Engine:
    """Return an engine that has not connected yet. Raises `ImproperlyConfigured` for options that it does not know."""
    given = drivers.engine_options(url.get_dialect(), settings.database_engine_options, settings.database_timeout_s)
    try:
        engine = create_engine(url, **given)
    except (TypeError, SQLAlchemyError) as error:
        raise ImproperlyConfigured(f"database_engine_options: {mask(str(error))}") from None
    if engine.dialect.name == drivers.SQLITE:
        _begin_as_told(engine)
    return engine


def watch_over(engine: Engine, watchdog: Watchdog) -> None:
    """Tell the watchdog which connection each call uses."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, parameters: Any) -> Any:
        connection = dialect.connect(*arguments, **parameters)
        call = watchdog.current
        if call is not None:
            call.connection, call.connected = connection, True
        return connection

    @event.listens_for(engine, "checkout")
    def checkout(connection: Any, record: Any, proxy: Any) -> None:
        call = watchdog.current
        if call is not None:
            call.connection = connection


def _begin_as_told(engine: Engine) -> None:
    """Have SQLite lock the file when a transaction that writes begins: two that read first would refuse each other."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get(_WRITING, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _may_be_repaired(error: SQLAlchemyError, *, new_connection: bool) -> bool:
    """Tell whether a second attempt may succeed: a connection that had died in the pool, a table that is gone."""
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return (lost and not new_connection) or drivers.lacks_a_table(error)


def _advice(error: SQLAlchemyError) -> str:
    if any(word in str(error).lower() for word in ("permission", "denied", "must be owner", "readonly")):
        return "; see 'Tables' in the guide to result backends for what its user must be allowed to do"
    return ""
