"""What differs from database to database and from driver to driver: how they connect, give up and say what went wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import URL, make_url
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
)

from celeriac.core.urls import mask
from celeriac.exceptions import ImproperlyConfigured
from celeriac.transports.sqlite.location import create_file

POSTGRESQL: Final = "postgresql"
SQLITE: Final = "sqlite"
MYSQL: Final = frozenset({"mysql", "mariadb"})

_DRIVERS: Final = {
    "postgresql": {"psycopg": "psycopg", "psycopg2": "psycopg2"},
    "mysql": {"mysqldb": "MySQLdb", "pymysql": "pymysql"},
    "mariadb": {"mysqldb": "MySQLdb", "pymysql": "pymysql"},
}
"""Where a URL names no driver, the first one that is installed: its name, and its module."""
_PACKAGES: Final = {"MySQLdb": "mysqlclient", "psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary"}

_RACES: Final = frozenset({"40001", "40P01", 1020, 1205, 1213, "42P07", "42701", "42710", 1050, 1060, 1061})
"""Serialization failure, deadlock, and a table, column or index that somebody else has just made, as PostgreSQL and MySQL number
them: the same again will do."""
_MISSING: Final = frozenset({"42P01", "42703", 1146, 1054})
"""A table or a column does not exist."""


def database_url(url: str) -> URL:
    """Return SQLAlchemy's URL of `db+<url>`, with a driver that is installed.

    Raises `ImproperlyConfigured` for what is no URL, for a database or driver that is not there, for one that needs an event loop, and
    for a SQLite database in memory, which nobody else could read.
    """
    _, _, rest = url.partition("+")
    try:
        parsed = _with_driver(make_url(rest))
        dialect = parsed.get_dialect()
        if not dialect.is_async:
            dialect.import_dbapi()
    except (ArgumentError, NoSuchModuleError) as error:
        raise ImproperlyConfigured(f"{mask(url)}: {mask(str(error))}") from None
    except ModuleNotFoundError as error:
        package = _PACKAGES.get(error.name or "", error.name)
        raise ImproperlyConfigured(f"{mask(url)} needs the package {error.name!r}: pip install {package}") from error
    if dialect.is_async:
        kind = parsed.get_backend_name()
        raise ImproperlyConfigured(
            f"{mask(url)}: {parsed.drivername} works in coroutines only; name another driver, or none: db+{kind}://"
        )
    if dialect.name == SQLITE and (parsed.database in (None, "", ":memory:") or "mode=memory" in str(parsed)):
        raise ImproperlyConfigured(
            f"{mask(url)}: results in memory can't be shared; name a file, db+sqlite:////path/to/file.db, or use memory://"
        )
    return parsed


def connect_arguments(dialect: type[Dialect], timeout_s: float) -> dict[str, Any]:
    """Return what has a driver keep a deadline by itself, as far as it can."""
    match dialect.name, dialect.driver:
        case "sqlite", _:
            return {"timeout": timeout_s}
        case "postgresql", "psycopg" | "psycopg2":
            # Seconds, whole ones: a server that is gone without a word; what hangs otherwise is the watchdog's.
            patience_s = max(2, math.ceil(timeout_s / 2))
            alive = {"keepalives": 1, "keepalives_idle": patience_s, "keepalives_interval": patience_s}
            arguments = {"connect_timeout": patience_s, "tcp_user_timeout": int(timeout_s * 1000), **alive}
            # Statements that the server has prepared are lost behind a pooler, and stop working when a table gets a column.
            return {**arguments, "prepare_threshold": None} if dialect.driver == "psycopg" else arguments
        case "mysql" | "mariadb", "pymysql" | "mysqldb":
            seconds = max(1, math.ceil(timeout_s))
            return {"connect_timeout": seconds, "read_timeout": seconds, "write_timeout": seconds}
    return {}


def make_private(url: URL) -> None:
    """Create the file of a SQLite database for this user alone, where there is none: SQLite itself lets everybody read it."""
    if url.get_backend_name() != SQLITE or not url.database or url.database.startswith("file:"):
        return
    path = os.path.abspath(url.database)
    if os.path.isdir(os.path.dirname(path)):
        with contextlib.suppress(OSError):  # whoever opens it says what is wrong
            create_file(path)


def engine_options(dialect: type[Dialect], given: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """Return the options for `create_engine`: those given, and ours where they say nothing."""
    options = {name: value for name, value in given.items() if name != "pool_pre_ping"}  # see `Database.run`
    options["connect_args"] = {**connect_arguments(dialect, timeout_s), **options.get("connect_args", {})}
    if dialect.name == POSTGRESQL or dialect.name in MYSQL:
        # What two writers do at once meets at rows; MySQL's own level would lock the gaps between them too.
        options.setdefault("isolation_level", "READ COMMITTED")
    if "poolclass" not in options and "pool" not in options:
        options.setdefault("pool_timeout", timeout_s)
    return options


def lost_a_race(error: Exception) -> bool:
    """Tell whether another transaction came between, so that the same again will do."""
    return isinstance(error, IntegrityError) or (isinstance(error, DBAPIError) and _code(error) in _RACES)


def lacks_a_table(error: Exception) -> bool:
    """Tell whether a table or a column is missing."""
    if isinstance(error, ProgrammingError | OperationalError):
        return _code(error) in _MISSING or "no such table" in str(error.orig) or "no such column" in str(error.orig)
    return False


def _code(error: DBAPIError) -> str | int | None:
    """Return MySQL's number, or the SQLSTATE of a PostgreSQL driver."""
    original = error.orig
    first = original.args[0] if original is not None and original.args else None
    if isinstance(first, int):
        return first
    return getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)


def _with_driver(url: URL) -> URL:
    if "+" in url.drivername:
        return url
    known = _DRIVERS.get(url.drivername, {})
    for driver, module in known.items():
        if importlib.util.find_spec(module) is not None:
            return url.set(drivername=f"{url.drivername}+{driver}")
    for driver in known:
        return url.set(drivername=f"{url.drivername}+{driver}")  # and let the error say that it is missing
    return url
