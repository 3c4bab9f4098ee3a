"""A broker and a backend that keep what they are given where a test can look, and fail when told to.

They implement the protocols of `celeriac.core.ports` for clients; nothing of the library is replaced.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

from celeriac.brokers.embedded.memory_messenger import MemoryMessenger, PostOffice
from celeriac.core.effects import Record
from celeriac.core.message import Message, Revocation
from celeriac.core.priorities import First
from celeriac.core.queues import QueueTable
from celeriac.core.settings import make_settings
from celeriac.exceptions import BackendUnavailable
from celeriac.wire import result_meta


class RecordingProducer:
    def __init__(self) -> None:
        self.batches: list[list[Message]] = []
        self.timeouts_s: list[float] = []
        self.failures: list[Exception] = []
        """Raised by the next calls, one each."""
        self.gate = threading.Event()
        """Cleared: `publish` blocks until it is set."""
        self.gate.set()
        self.entered = threading.Event()
        self.closed = False

    @property
    def messages(self) -> list[Message]:
        return [message for batch in self.batches for message in batch]

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        self.timeouts_s.append(timeout_s)
        self.entered.set()
        assert self.gate.wait(30)
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(list(messages))

    def close(self) -> None:
        self.closed = True


class RecordingAdmin:
    def __init__(self, broker: RecordingBroker) -> None:
        self._broker = broker

    def revoke(self, revocations: Sequence[Revocation]) -> None:
        self._broker.revocations.extend(revocations)

    def withdraw_delayed(self, _revocations: Sequence[Revocation], _conclude: Any, _timeout_s: float) -> int:
        return 0

    def close(self) -> None:
        self._broker.admins_closed += 1


class RecordingBroker:
    durable = False
    urgent_first: First = "high"

    def __init__(self) -> None:
        self.queues = QueueTable(make_settings({}))
        self.sent = RecordingProducer()
        self.producers_made = 0
        self.revocations: list[Revocation] = []
        self.admins_closed = 0

    def producer(self) -> RecordingProducer:
        self.producers_made += 1
        return self.sent

    def admin(self) -> Any:
        return RecordingAdmin(self)

    def consumer(self) -> Any:
        raise NotImplementedError

    def messenger(self) -> MemoryMessenger:
        return MemoryMessenger(PostOffice(), make_settings({}))

    def shown_url(self) -> str:
        return "recording://"


class RecordingReader:
    def __init__(self, backend: RecordingBackend) -> None:
        self._backend = backend

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        self._backend.fetches += 1
        if self._backend.away:
            raise BackendUnavailable("away")
        return {one: self._backend.documents[one] for one in ids if one in self._backend.documents}

    def store(self, records: Sequence[Record]) -> None:
        for record in records:
            self._backend.documents[record.id] = record.payload

    def forget(self, ids: Sequence[str]) -> None:
        for one in ids:
            self._backend.documents.pop(one, None)

    def save_group(self, group_id: str, payload: bytes, expires_s: float | None) -> None:
        self._backend.groups[group_id] = (payload, expires_s)

    def fetch_group(self, group_id: str) -> bytes | None:
        return self._backend.groups.get(group_id, (None, None))[0]

    def forget_group(self, group_id: str) -> None:
        self._backend.groups.pop(group_id, None)

    def close(self) -> None:
        self._backend.readers_closed += 1


class RecordingListener:
    """Tells of documents as they are put into the backend, from any thread."""

    def __init__(self, backend: RecordingBackend) -> None:
        self._backend = backend
        self.reply_to = backend.reply_to
        self.watched: set[str] = set()
        self.batches: list[set[str]] = []
        """What each call of `watch` was told."""
        self.opened = 0
        self._deliver: Callable[[str, bytes], None] | None = None
        self._lost: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    async def open(self, deliver: Callable[[str, bytes], None]) -> None:
        if self._backend.away:
            raise BackendUnavailable("away")
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._lost = asyncio.Event()
        self.opened += 1
        self._tell(self.watched)

    async def watch(self, ids: Collection[str]) -> None:
        self.batches.append(set(ids))
        self.watched.update(ids)
        self._tell(ids)

    async def unwatch(self, ids: Collection[str]) -> None:
        self.watched.difference_update(ids)

    async def run(self) -> None:
        assert self._lost is not None
        await self._lost.wait()
        raise BackendUnavailable("connection lost")

    async def close(self) -> None:
        self.closed = True

    def lose_connection(self) -> None:
        assert self._loop is not None
        assert self._lost is not None
        self._loop.call_soon_threadsafe(self._lost.set)

    def notify(self, task_id: str) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._tell([task_id] if task_id in self.watched else []))

    def _tell(self, ids: Collection[str]) -> None:
        assert self._deliver is not None
        for one in list(ids):
            if one in self._backend.documents:
                self._deliver(one, self._backend.documents[one])


class RecordingBackend:
    counts_chords = False

    def __init__(self, *, stores: bool = True, reply_to: str | None = None) -> None:
        self.stores = stores
        self.reply_to = reply_to
        self.documents: dict[str, bytes] = {}
        self.groups: dict[str, tuple[bytes, float | None]] = {}
        self.listeners: list[RecordingListener] = []
        self.fetches = 0
        self.readers_closed = 0
        self.away = False

    def put(self, task_id: str, status: str, result: Any = None, traceback: str | None = None, **more: Any) -> None:
        meta = result_meta.ResultMeta(status=status, result=result, traceback=traceback, task_id=task_id, **more)
        self.documents[task_id] = result_meta.encode(meta, max_bytes=1_000_000)
        for listener in self.listeners:
            listener.notify(task_id)

    def reader(self) -> Any:
        return RecordingReader(self)

    def listener(self) -> RecordingListener:
        listener = RecordingListener(self)
        self.listeners.append(listener)
        return listener

    def writer(self) -> Any:
        raise NotImplementedError

    def shown_url(self) -> str:
        return "recording://"
