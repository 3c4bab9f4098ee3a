"""The memory result backend: for tests and for programs whose worker is embedded in the same process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import NamedTuple

from celeriac.backends.memory_chords import MemoryChords
from celeriac.backends.memory_expiry import Expiring
from celeriac.core.effects import Record
from celeriac.core.settings import Settings
from celeriac.core.states import SUCCESS
from celeriac.core.urls import mask
from celeriac.core.workflow import ChordOpening, ChordState, Collected, Part

Hear = Callable[[str, bytes], None]


class _Kept(NamedTuple):
    state: str
    document: bytes


class _Results:
    """The stored results. Thread-safe; no call blocks for longer than it takes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept = Expiring[_Kept]()
        self._hearers: set[Hear] = set()

    def fetch(self, ids: Collection[str]) -> dict[str, bytes]:
        with self._lock:
            self._kept.expire(self._clock())
            found = ((task_id, self._kept.get(task_id)) for task_id in ids)
            return {task_id: kept.document for task_id, kept in found if kept is not None}

    def store(self, records: Sequence[Record]) -> None:
        with self._lock:
            self._kept.expire(self._clock())
            for record in records:
                known = self._kept.get(record.id)
                if known is not None and known.state == SUCCESS:
                    continue
                expires_at = inf if record.expires_s is None else self._clock() + record.expires_s
                self._kept.put(record.id, _Kept(record.state, record.payload), expires_at)
                # With the lock held, so that everybody hears the states in the order in which they were stored.
                for hear in list(self._hearers):
                    hear(record.id, record.payload)

    def forget(self, ids: Collection[str]) -> None:
        with self._lock:
            for task_id in ids:
                self._kept.pop(task_id)

    def subscribe(self, hear: Hear) -> None:
        """Call `hear` with every state stored, in the thread that stores it; it must not block."""
        with self._lock:
            self._hearers.add(hear)

    def unsubscribe(self, hear: Hear) -> None:
        """Call it no more. Takes no lock, so that a hearer may do it while it hears."""
        self._hearers.discard(hear)


class _Groups:
    """The documents of saved groups. Thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept = Expiring[bytes]()

    def save(self, group_id: str, payload: bytes, expires_s: float | None) -> None:
        with self._lock:
            self._kept.put(group_id, payload, inf if expires_s is None else self._clock() + expires_s)

    def fetch(self, group_id: str) -> bytes | None:
        with self._lock:
            self._kept.expire(self._clock())
            return self._kept.get(group_id)

    def forget(self, group_id: str) -> None:
        with self._lock:
            self._kept.pop(group_id)


class _Place(NamedTuple):
    """Everything that is kept."""

    results: _Results
    chords: MemoryChords
    groups: _Groups


class MemoryReader:
    """Reads and writes results for clients. Thread-safe; never blocks."""

    def __init__(self, place: _Place) -> None:
        self._place = place

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored documents of those ids that have one."""
        return self._place.results.fetch(ids)

    def store(self, records: Sequence[Record]) -> None:
        """Store the records; a stored SUCCESS is not overwritten. Idempotent."""
        self._place.results.store(records)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete results. Idempotent."""
        self._place.results.forget(ids)

    def save_group(self, group_id: str, payload: bytes, expires_s: float | None) -> None:
        """Keep the document of a group. Idempotent."""
        self._place.groups.save(group_id, payload, expires_s)

    def fetch_group(self, group_id: str) -> bytes | None:
        """Return the document of a saved group."""
        return self._place.groups.fetch(group_id)

    def forget_group(self, group_id: str) -> None:
        """Delete the document of a saved group, not its results. Idempotent."""
        self._place.groups.forget(group_id)

    def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords; see `ResultReader.open_chords`. Idempotent."""
        self._place.chords.open(openings)

    def extend_chord(self, group_id: str, member_id: str, expires_s: float | None) -> None:
        """Have an open chord wait for one more member. Idempotent for each `member_id`."""
        self._place.chords.extend(group_id, member_id, expires_s)

    def chords(self, group_ids: Sequence[str] | None = None, limit: int = 100) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest."""
        return self._place.chords.states(group_ids, limit)

    def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""
        return self._place.chords.collect(group_id)

    def close_chords(self, group_ids: Sequence[str]) -> None:
        """Forget all of chords but that they are closed. Idempotent."""
        self._place.chords.close(group_ids)

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
    """Stores results and joins chords for a worker."""

    def __init__(self, place: _Place) -> None:
        self._place = place

    async def store(self, records: Sequence[Record]) -> None:
        """Store the records; a stored SUCCESS is not overwritten. Idempotent."""
        self._place.results.store(records)

    async def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords; see `ResultReader.open_chords`. Idempotent."""
        self._place.chords.open(openings)

    async def join(self, parts: Sequence[Part]) -> list[bool]:
        """Add parts to their chords, and tell for each whether its member has to finish the chord."""
        return self._place.chords.join(parts)

    async def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""
        return self._place.chords.collect(group_id)

    async def close_chords(self, group_ids: Sequence[str]) -> None:
        """Forget all of chords but that they are closed. Idempotent."""
        self._place.chords.close(group_ids)

    async def chords(self, limit: int) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest."""
        return self._place.chords.states(None, limit)

    async def close(self) -> None:
        """There is nothing to close."""


class MemoryBackend:
    """Results that live in this object: who is to meet must share it, in one process. Nothing outlives it.

    `clock` returns the time in Unix seconds by which results expire.
    """

    stores = True
    counts_chords = True
    replies = False

    def __init__(self, url: str, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._place = _Place(_Results(clock), MemoryChords(clock), _Groups(clock))

    def reader(self) -> MemoryReader:
        """Return a new reader."""
        return MemoryReader(self._place)

    def listener(self) -> MemoryListener:
        """Return a new listener."""
        return MemoryListener(self._place.results)

    def writer(self) -> MemoryWriter:
        """Return a new writer."""
        return MemoryWriter(self._place)

    def shown_url(self) -> str:
        """Return the URL."""
        return mask(self._url)
