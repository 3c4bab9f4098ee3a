"""The memory result backend: for tests and for programs whose worker is embedded in the same process."""

from __future__ import annotations

import asyncio
import heapq
import threading
import time
from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import NamedTuple

from celeriac.core.effects import Record
from celeriac.core.settings import Settings
from celeriac.core.states import SUCCESS
from celeriac.core.urls import mask

Hear = Callable[[str, bytes], None]


class _Kept(NamedTuple):
    state: str
    document: bytes
    expires_at: float


class _Results:
    """The stored results. Thread-safe; no call blocks for longer than it takes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self._expiry: list[tuple[float, str]] = []
        self._hearers: set[Hear] = set()

    def fetch(self, ids: Collection[str]) -> dict[str, bytes]:
        with self._lock:
            self._expire()
            return {task_id: self._kept[task_id].document for task_id in ids if task_id in self._kept}

    def store(self, records: Sequence[Record]) -> None:
        with self._lock:
            self._expire()
            for record in records:
                known = self._kept.get(record.id)
                if known is not None and known.state == SUCCESS:
                    continue
                expires_at = inf if record.expires_s is None else self._clock() + record.expires_s
                self._kept[record.id] = _Kept(record.state, record.payload, expires_at)
                if expires_at < inf:
                    heapq.heappush(self._expiry, (expires_at, record.id))
                # With the lock held, so that everybody hears the states in the order in which they were stored.
                for hear in list(self._hearers):
                    hear(record.id, record.payload)

    def forget(self, ids: Collection[str]) -> None:
        with self._lock:
            for task_id in ids:
                self._kept.pop(task_id, None)

    def subscribe(self, hear: Hear) -> None:
        """Call `hear` with every state stored, in the thread that stores it; it must not block."""
        with self._lock:
            self._hearers.add(hear)

    def unsubscribe(self, hear: Hear) -> None:
        """Call it no more. Takes no lock, so that a hearer may do it while it hears."""
        self._hearers.discard(hear)

    def _expire(self) -> None:
        now = self._clock()
        while self._expiry and self._expiry[0][0] <= now:
            _, task_id = heapq.heappop(self._expiry)
            if task_id in self._kept and self._kept[task_id].expires_at <= now:  # else it was stored anew since
                del self._kept[task_id]


class MemoryReader:
    """Reads and writes results for clients. Thread-safe; never blocks."""

    def __init__(self, results: _Results) -> None:
        self._results = results

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored documents of those ids that have one."""
        return self._results.fetch(ids)

    def store(self, records: Sequence[Record]) -> None:
        """Store the records; a stored SUCCESS is not overwritten. Idempotent."""
        self._results.store(records)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete results. Idempotent."""
        self._results.forget(ids)

    def close(self) -> None:
        """There is nothing to close."""


class MemoryListener:
    """Tells when watched results arrive. Belongs to one event loop; the results may be stored in any thread."""

    reply_to: str | None = None

    def __init__(self, results: _Results) -> None:
        self._results = results
        self._watched: set[str] = set()
        self._deliver: Hear | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, deliver: Hear) -> None:
        """Begin to hear, and tell about what was stored meanwhile for those that are watched."""
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._results.subscribe(self._hear)
        self._tell_all(self._watched)

    async def watch(self, ids: Collection[str]) -> None:
        """Begin to tell about these tasks, and tell at once about those that already have a result."""
        self._watched.update(ids)
        self._tell_all(ids)

    async def unwatch(self, ids: Collection[str]) -> None:
        """Stop telling about these tasks."""
        self._watched.difference_update(ids)

    async def run(self) -> None:
        """Wait until cancelled: what arrives is told by the loop as it arrives."""
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Hear no more; idempotent."""
        self._results.unsubscribe(self._hear)

    def _hear(self, task_id: str, document: bytes) -> None:
        """In any thread: pass the news on to the loop."""
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._tell, task_id, document)
        except RuntimeError:
            self._results.unsubscribe(self._hear)  # the loop was closed without `close`: nobody listens any more

    def _tell(self, task_id: str, document: bytes) -> None:
        if task_id in self._watched and self._deliver is not None:
            self._deliver(task_id, document)

    def _tell_all(self, ids: Collection[str]) -> None:
        for task_id, document in self._results.fetch(ids).items():
            self._tell(task_id, document)


class MemoryWriter:
    """Stores results for a worker."""

    def __init__(self, results: _Results) -> None:
        self._results = results

    async def store(self, records: Sequence[Record]) -> None:
        """Store the records; a stored SUCCESS is not overwritten. Idempotent."""
        self._results.store(records)

    async def close(self) -> None:
        """There is nothing to close."""


class MemoryBackend:
    """Results that live in this object: who is to meet must share it, in one process. Nothing outlives it.

    `clock` returns the time in Unix seconds by which results expire.
    """

    stores = True

    def __init__(self, url: str, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._results = _Results(clock)

    def reader(self) -> MemoryReader:
        """Return a new reader."""
        return MemoryReader(self._results)

    def listener(self) -> MemoryListener:
        """Return a new listener."""
        return MemoryListener(self._results)

    def writer(self) -> MemoryWriter:
        """Return a new writer."""
        return MemoryWriter(self._results)

    def shown_url(self) -> str:
        """Return the URL."""
        return mask(self._url)
