"""What all cases of the backend suite share: flags, fixtures, and a listener driven as a client drives it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar, Protocol

import pytest

from celeriac.core.effects import Record
from celeriac.core.ports import Backend, ResultListener, ResultReader, ResultWriter
from celeriac.core.states import SUCCESS
from celeriac.exceptions import BackendUnavailable


class MakeBackend(Protocol):
    """Opens a backend on the test's own, at first empty, place; called again, it opens the same place again."""

    def __call__(self, **settings: Any) -> Backend: ...


CutConnections = Callable[[], None]


def make_record(
    task_id: str, state: str = SUCCESS, result: object = None, *, expires_s: float | None = 3600.0, reply_to: str = ""
) -> Record:
    """Return a result document as a worker would store it."""
    document = {"status": state, "result": result, "traceback": None, "children": [], "task_id": task_id}
    return Record(task_id, state, json.dumps(document).encode(), expires_s, reply_to)


def new_id() -> str:
    """Return a task id that nobody has used."""
    return str(uuid.uuid4())


class Watcher:
    """A listener, the loop's task that runs it, and what it has told."""

    def __init__(self, listener: ResultListener, deadline_s: float) -> None:
        self.listener = listener
        self.told: dict[str, list[bytes]] = {}
        self._deadline_s = deadline_s
        self._running: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect, or connect again after a failure; nothing is received yet."""
        await self.stop()
        await self.listener.open(self._deliver)

    async def open(self) -> None:
        """Connect and receive."""
        await self.connect()
        self.run()

    def run(self) -> None:
        """Receive in a task of its own."""
        self._running = asyncio.create_task(self.listener.run())

    async def stop(self) -> None:
        """Receive no more, without a word to the listener."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait([running])

    async def close(self) -> None:
        """Receive no more, and disconnect."""
        await self.stop()
        await self.listener.close()

    async def see(self, *records: Record) -> None:
        """Wait until each record is the last thing told about its task."""

        def seen(record: Record) -> bool:
            return self.told.get(record.id, [b""])[-1] == record.payload

        until = time.monotonic() + self._deadline_s
        while not all(map(seen, records)):
            missing = [record for record in records if not seen(record)]
            assert time.monotonic() < until, f"never told: {missing[:3]} ({len(missing)} of {len(records)})"
            await self._recover()
            await asyncio.sleep(0.01)

    def states(self, task_id: str) -> list[str]:
        """Return the states told about a task, in order; the same one told twice in a row counts once."""
        states = [json.loads(document)["status"] for document in self.told.get(task_id, [])]
        return [state for at, state in enumerate(states) if at == 0 or states[at - 1] != state]

    def _deliver(self, task_id: str, document: bytes) -> None:
        self.told.setdefault(task_id, []).append(document)

    async def _recover(self) -> None:
        """Do as the client does when the connection is lost: open again, as often as it takes."""
        if self._running is not None and self._running.done():
            if not isinstance(self._running.exception(), BackendUnavailable):
                self._running.result()
                raise AssertionError("run() returned; it has to receive until it is cancelled")
            self._running = None
        if self._running is None:
            try:
                await self.open()
            except BackendUnavailable:
                return  # asked again in a moment, until the deadline


class BackendCases:
    """Flags, fixtures and helpers; see `celeriac.testing.backend_suite` for how to use them."""

    keeps: ClassVar[bool] = True
    """Results are stored where anybody finds them later; False when they are sent to the caller's reply queue."""
    deadline_s: ClassVar[float] = 30.0
    """Seconds to wait for anything before a test fails."""

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        """The one fixture that must be given: a function that takes settings and opens the backend."""
        raise NotImplementedError(f"{type(self).__name__} must give a fixture `make_backend`")

    @pytest.fixture
    def backend(self, make_backend: MakeBackend) -> Backend:
        """The backend under test with default settings."""
        return make_backend()

    @pytest.fixture
    def cut_connections(self) -> CutConnections | None:
        """Optional: a function that cuts all connections to the store, as a broken network would."""
        return None

    # -- helpers ---------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self, backend: Backend) -> Iterator[ResultReader]:
        """Open a reader for the time of a `with` block."""
        reader = backend.reader()
        try:
            yield reader
        finally:
            reader.close()

    @asynccontextmanager
    async def writing(self, backend: Backend) -> AsyncIterator[ResultWriter]:
        """Open a writer for the time of an `async with` block."""
        writer = backend.writer()
        try:
            yield writer
        finally:
            await writer.close()

    @asynccontextmanager
    async def watching(self, backend: Backend) -> AsyncIterator[Watcher]:
        """Open a listener and run it for the time of an `async with` block."""
        watcher = Watcher(backend.listener(), self.deadline_s)
        await watcher.open()
        try:
            yield watcher
        finally:
            await watcher.close()

    def store(self, backend: Backend, *records: Record) -> None:
        """Store records as a worker does."""

        async def scenario() -> None:
            async with self.writing(backend) as writer:
                await writer.store(records)

        asyncio.run(scenario())

    def record_for(self, watcher: Watcher, task_id: str, state: str = SUCCESS) -> Record:
        """Return a record addressed to the listener, where the backend sends results."""
        return make_record(task_id, state, reply_to=watcher.listener.reply_to or "")

    def must_keep(self) -> None:
        """Skip the test if the backend only sends results."""
        if not self.keeps:
            pytest.skip("this backend sends results and keeps none")

    def wait_until(self, condition: Callable[[], bool], complaint: str) -> None:
        """Poll until the condition holds; fail with the complaint after the deadline."""
        until = time.monotonic() + self.deadline_s
        while not condition():
            assert time.monotonic() < until, complaint
            time.sleep(0.02)
