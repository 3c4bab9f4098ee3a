"""The SQLAlchemy result backend: results and chords in PostgreSQL, MariaDB, MySQL, or a SQLite file.

Results stand in Celery's tables, so that Celery reads what Celeriac stores and the other way round.

| module | what it knows |
|---|---|
| `tables`, `keys`, `setup` | which tables there are, how ids stand in them, how they come to be |
| `rows`, `foreign`, `documents` | documents as rows: ours, and those that Celery has written |
| `results`, `chords` | the statements, each a part of a transaction |
| `drivers`, `watchdog`, `database` | connections, deadlines, transactions, errors |
| `storing`, `refusals` | storing whatever the database thinks of it |
| `reader`, `writer`, `listener` with `thread`, `doorbell` | the three sides |
"""

from __future__ import annotations

from celeriac.backends.sqlalchemy.database import Database, make_engine
from celeriac.backends.sqlalchemy.documents import Documents
from celeriac.backends.sqlalchemy.drivers import database_url
from celeriac.backends.sqlalchemy.listener import DatabaseListener
from celeriac.backends.sqlalchemy.reader import DatabaseReader
from celeriac.backends.sqlalchemy.tables import make_tables
from celeriac.backends.sqlalchemy.writer import DatabaseWriter
from celeriac.core.settings import Settings
from celeriac.core.urls import mask

__all__ = ["DatabaseBackend", "make_tables"]


class DatabaseBackend:
    """What `db+<SQLAlchemy's URL>` opens; nothing is connected yet.

    Raises `ImproperlyConfigured` for a URL, a driver or options that cannot work.
    """

    stores = True
    counts_chords = True
    replies = False

    def __init__(self, url: str, settings: Settings) -> None:
        self._shown_url = mask(url)
        self._url = database_url(url)
        self._settings = settings
        self._tables = make_tables(settings)
        make_engine(self._url, settings).dispose()  # to find wrong options now

    def reader(self) -> DatabaseReader:
        """Return a new reader."""
        return DatabaseReader(self._database(), Documents(self._settings))

    def listener(self) -> DatabaseListener:
        """Return a new listener."""
        return DatabaseListener(self._database(), Documents(self._settings), self._settings.database_poll_max_s)

    def writer(self) -> DatabaseWriter:
        """Return a new writer."""
        return DatabaseWriter(self._database(), self._settings.result_expires)

    def shown_url(self) -> str:
        """Return the URL with the password masked."""
        return self._shown_url

    def _database(self) -> Database:
        return Database(self._url, self._shown_url, self._settings, self._tables)
