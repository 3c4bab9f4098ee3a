"""The three sides of the result backend `django-db`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final, TypeVar

from celeriac.contrib.django.results import SHOWN, DjangoResults
from celeriac.core.effects import Record
from celeriac.core.settings import Settings
from celeriac.core.workflow import ChordOpening, ChordState, Collected, Part

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.02
_PAUSE_GROWTH: Final = 1.5


class DjangoBackend:
    """What `django-db` opens; nothing is connected yet.

    Raises `ImproperlyConfigured` when django-celery-results is not among INSTALLED_APPS.
    """

    stores = True
    counts_chords = True
    replies = False

    def __init__(self, url: str, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings = settings

    def reader(self) -> DjangoResults:
        """Return a new reader: it uses the connections of whoever calls, as everything of Django's does."""
        return DjangoResults(self._settings)

    def listener(self) -> DjangoListener:
        """Return a new listener."""
        return DjangoListener(DjangoResults(self._settings), self._settings.database_poll_max_s)

    def writer(self) -> DjangoWriter:
        """Return a new writer."""
        return DjangoWriter(DjangoResults(self._settings))

    def shown_url(self) -> str:
        """Return the name."""
        return SHOWN


class _OwnThread:
    """One thread, with connections of its own, in which an event loop has blocking calls run."""

    def __init__(self, name: str, results: DjangoResults) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._results = results
        self._closed = False

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self.run(self._results.close_own_connections)
            await asyncio.to_thread(self._executor.shutdown)


class DjangoWriter:
    """Stores results and joins chords for the core. Runs in one event loop."""

    def __init__(self, results: DjangoResults) -> None:
        self._results = results
        self._thread = _OwnThread("celeriac-django-results", results)

    async def store(self, records: Sequence[Record]) -> None:
        """Store all records; a stored SUCCESS is not overwritten. Idempotent."""
        await self._thread.run(self._results.store, records)

    async def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords. Idempotent."""
        await self._thread.run(self._results.open_chords, openings)

    async def join(self, parts: Sequence[Part]) -> list[bool]:
        """Add parts to their chords; see `ResultWriter.join`."""
        return await self._thread.run(self._results.join, parts)

    async def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""
        return await self._thread.run(self._results.collect, group_id)

    async def close_chords(self, group_ids: Sequence[str]) -> None:
        """Forget all but that these chords are closed. Idempotent."""
        await self._thread.run(self._results.close_chords, group_ids)

    async def chords(self, limit: int) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest."""
        return await self._thread.run(self._results.chords, None, limit)

    async def close(self) -> None:
        """Close the connections of its thread; idempotent."""
        await self._thread.close()


class DjangoListener:
    """Tells when watched results arrive: looks for them, soon at first, then less and less often. Belongs to one event loop."""

    reply_to: str | None = None

    def __init__(self, results: DjangoResults, poll_max_s: float) -> None:
        self._results = results
        self._thread = _OwnThread("celeriac-django-listener", results)
        self._poll_max_s = poll_max_s
        self._deliver: Callable[[str, bytes], None] = lambda task_id, document: None
        self._told: dict[str, tuple[str, datetime] | None] = {}
        """The watched tasks, each with how it stood when it was last told about."""
        self._wake = asyncio.Event()

    async def open(self, deliver: Callable[[str, bytes], None]) -> None:
        """Tell about what was stored meanwhile for those that are watched. Raises `BackendUnavailable`."""
        self._deliver = deliver
        await self._look(list(self._told))

    async def watch(self, ids: Collection[str]) -> None:
        """Begin to tell about these tasks, and tell at once about those that already have a result."""
        for task_id in ids:
            self._told.setdefault(task_id, None)
        await self._look(list(ids))
        self._wake.set()

    async def unwatch(self, ids: Collection[str]) -> None:
        """Stop telling about these tasks."""
        for task_id in ids:
            self._told.pop(task_id, None)

    async def run(self) -> None:
        """Receive until cancelled; raises `BackendUnavailable` when the database cannot be reached."""
        pause_s = _FIRST_PAUSE_S
        while True:
            self._wake.clear()
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
                pause_s = _FIRST_PAUSE_S
            except TimeoutError:
                news = await self._look(list(self._told))
                pause_s = _FIRST_PAUSE_S if news else min(self._poll_max_s, pause_s * _PAUSE_GROWTH)

    async def close(self) -> None:
        """Close the connections of its thread; idempotent."""
        await self._thread.close()

    async def _look(self, ids: Iterable[str]) -> bool:
        told = {task_id: self._told[task_id] for task_id in ids if task_id in self._told}
        if not told:
            return False
        news = await self._thread.run(self._changed, told)
        for task_id, (stand, document) in news.items():
            if task_id in self._told and self._told[task_id] != stand:
                self._told[task_id] = stand
                self._deliver(task_id, document)
        return bool(news)

    def _changed(self, told: dict[str, tuple[str, datetime] | None]) -> dict[str, tuple[tuple[str, datetime], bytes]]:
        stands = self._results.stands(list(told))
        changed = [task_id for task_id, stand in stands.items() if told[task_id] != stand]
        documents = self._results.fetch(changed) if changed else {}
        return {task_id: (stands[task_id], documents[task_id]) for task_id in changed if task_id in documents}
