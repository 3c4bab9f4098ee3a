"""The listener: tells the client's loop when the results that it waits for arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NamedTuple

from msgspec import Struct
from sqlalchemy import Connection

from celeriac.backends.sqlalchemy import results
from celeriac.backends.sqlalchemy.database import Database
from celeriac.backends.sqlalchemy.documents import Documents
from celeriac.backends.sqlalchemy.doorbell import Doorbell
from celeriac.backends.sqlalchemy.keys import key_of
from celeriac.backends.sqlalchemy.results import Stand
from celeriac.backends.sqlalchemy.rows import Limits
from celeriac.backends.sqlalchemy.thread import OneThread
from celeriac.exceptions import BackendUnavailable

_FIRST_PAUSE_S: Final = 0.02
_PAUSE_GROWTH: Final = 1.5
_LOOKING_SHARE: Final = 10.0
"""Between two looks passes at least so many times what a look takes."""


class _Watched(Struct):
    task_id: str
    told: Stand | None = None
    """How the task stood when it was last told about."""


class _News(NamedTuple):
    key: str
    stand: Stand
    document: bytes


class DatabaseListener:
    """Tells when watched results arrive. Belongs to one event loop.

    1. Looks at the watched rows, again and again: soon at first, then less and less often, up to `database_poll_max_s`; a new id
       and each piece of news begin that anew.
    2. On PostgreSQL with psycopg it is told of what Celeriac stores (`doorbell`), and looks only for what Celery may have stored.
    3. Tells each state once, as far as it sees it: between two looks one state may follow another.
    """

    reply_to: str | None = None

    def __init__(self, database: Database, documents: Documents, poll_max_s: float) -> None:
        self._database = database
        self._documents = documents
        self._poll_max_s = poll_max_s
        self._thread = OneThread("celeriac-database-listener")
        self._bell = Doorbell(database, self._thread, self._hear)
        self._deliver: Callable[[str, bytes], None] = lambda task_id, document: None
        self._watched: dict[str, _Watched] = {}
        self._rung: set[str] = set()
        self._wake = asyncio.Event()
        self._pause_s = _FIRST_PAUSE_S

    async def open(self, deliver: Callable[[str, bytes], None]) -> None:
        """Connect, and tell about what was stored meanwhile for those that are watched. Raises `BackendUnavailable`."""
        self._deliver = deliver
        await self._bell.open()  # before looking, so that nothing falls in between
        await self._look(list(self._watched))

    async def watch(self, ids: Collection[str]) -> None:
        """Begin to tell about these tasks, and tell at once about those that already have a result."""
        keys = {key_of(task_id): task_id for task_id in ids}
        for key, task_id in keys.items():
            self._watched.setdefault(key, _Watched(task_id))
        await self._look(keys)
        self._look_soon()

    async def unwatch(self, ids: Collection[str]) -> None:
        """Stop telling about these tasks."""
        for task_id in ids:
            self._watched.pop(key_of(task_id), None)

    async def run(self) -> None:
        """Receive until cancelled; raises `BackendUnavailable` when the database cannot be reached."""
        while True:
            rung = await self._rung_or_pause()
            if self._bell.broken:
                raise BackendUnavailable("the connection on which the database tells of new results was lost")
            begun = time.monotonic()
            news = await self._look(self._watched if rung is None else rung)
            took_s = time.monotonic() - begun
            if news and not self._bell.works:
                self._pause_s = _FIRST_PAUSE_S
            else:
                self._pause_s = min(self._poll_max_s, self._pause_s * _PAUSE_GROWTH)
            self._pause_s = max(self._pause_s, took_s * _LOOKING_SHARE)

    async def close(self) -> None:
        """Close the connections and end the thread; idempotent."""
        await self._bell.close()
        await self._thread.close(self._database.close)

    async def _rung_or_pause(self) -> list[str] | None:
        """Wait; return the watched ids that were rung for, None when it is time to look at all."""
        until = time.monotonic() + self._pause_s
        while True:
            if self._rung:
                rung, self._rung = self._rung, set()
                if mine := [key for key in rung if key in self._watched]:
                    return mine
            self._wake.clear()
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    await self._wake.wait()
            except TimeoutError:
                return None
            if self._bell.broken:
                return None
            until = min(until, time.monotonic() + self._pause_s)  # which may be shorter by now

    def _hear(self, keys: Iterable[str]) -> None:
        self._rung.update(key for key in keys if key in self._watched)
        if self._rung or self._bell.broken:
            self._wake.set()

    def _look_soon(self) -> None:
        if not self._bell.works:
            self._pause_s = _FIRST_PAUSE_S
            self._wake.set()

    async def _look(self, keys: Iterable[str]) -> bool:
        """Tell about those of these tasks that stand otherwise than when they were last told about."""
        told = {key: self._watched[key].told for key in keys if key in self._watched}
        if not told:
            return False
        news = await self._thread.run(lambda: self._changed(told))
        for key, stand, document in news:
            watched = self._watched.get(key)
            if watched is not None and watched.told != stand:
                watched.told = stand
                self._deliver(watched.task_id, document)
        return bool(news)

    def _changed(self, told: dict[str, Stand | None]) -> list[_News]:
        """In the thread: return what has changed, with its documents."""
        tables, now = self._database.tables, time.time()

        def work(connection: Connection, limits: Limits) -> list[Any]:
            there = results.stands(connection, tables, told, now)
            return results.fetch(
                connection, tables, [key for key in there if key in told and told[key] != there[key]], now
            )

        return [
            _News(row.task_id, Stand(row.status, row.date_done, row.celeriac_stored_at), self._documents.of_task(row))
            for row in self._database.read(work)
            if row.task_id in told
        ]
