"""The conformance suite for result backends: what every one has to do, whoever wrote it.

To run it against a backend of yours, subclass `BackendSuite` in a test module and give the fixture `make_backend`:

    import pytest
    from celeriac.core.settings import make_settings

    pytest.register_assert_rewrite("celeriac.testing")      # readable failures; before the next import
    from celeriac.testing.backend_suite import BackendSuite

    class TestMyBackend(BackendSuite):
        @pytest.fixture
        def make_backend(self, tmp_path):
            return lambda **settings: MyBackend(f"mine://{tmp_path}", make_settings(settings))

`make_backend` opens a place that is empty when the test begins.  A backend that sends results to a reply queue instead of
storing them sets `keeps = False`.  The optional fixture `cut_connections` returns a function `()` that breaks every connection
to the store while the store goes on.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar, Protocol

import pytest

from celeriac.core.effects import Record
from celeriac.core.ports import Backend, ResultListener, ResultReader, ResultWriter
from celeriac.core.states import FAILURE, RETRY, STARTED, SUCCESS
from celeriac.exceptions import BackendUnavailable

__all__ = ["BackendSuite", "CutConnections", "MakeBackend", "Watcher", "make_record"]


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


class BackendSuite:
    """Everything that is asked of a result backend."""

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

    # -- reading and writing ---------------------------------------------------------------------------------------

    def test_what_the_worker_stores_the_client_reads(self, backend: Backend) -> None:
        self._must_keep()
        records = [make_record(new_id(), result=number) for number in range(3)]
        self.store(backend, *records)
        with self.reading(backend) as reader:
            found = reader.fetch([*(record.id for record in records), new_id()])
            assert found == {record.id: record.payload for record in records}
            assert reader.fetch([]) == {}

    def test_what_a_client_stores_a_client_reads(self, backend: Backend) -> None:
        self._must_keep()
        record = make_record(new_id(), result="größe " * 1000)
        with self.reading(backend) as reader, self.reading(backend) as other:
            reader.store([record])
            assert other.fetch([record.id]) == {record.id: record.payload}

    def test_forgotten_results_are_gone(self, backend: Backend) -> None:
        self._must_keep()
        kept, forgotten = make_record(new_id()), make_record(new_id())
        self.store(backend, kept, forgotten)
        with self.reading(backend) as reader:
            reader.forget([forgotten.id])
            reader.forget([forgotten.id, new_id()])
            reader.forget([])
            assert reader.fetch([kept.id, forgotten.id]) == {kept.id: kept.payload}
            again = make_record(forgotten.id, FAILURE)
            reader.store([again])
            assert reader.fetch([again.id]) == {again.id: again.payload}

    def test_a_later_state_replaces_an_earlier_one(self, backend: Backend) -> None:
        self._must_keep()
        task_id = new_id()
        with self.reading(backend) as reader:
            for state in (STARTED, RETRY, FAILURE, SUCCESS):
                record = make_record(task_id, state)
                self.store(backend, record)
                assert reader.fetch([task_id]) == {task_id: record.payload}

    def test_two_states_in_one_batch_are_stored_in_order(self, backend: Backend) -> None:
        self._must_keep()
        task_id = new_id()
        self.store(backend, make_record(task_id, STARTED), last := make_record(task_id, SUCCESS, 1))
        with self.reading(backend) as reader:
            assert reader.fetch([task_id]) == {task_id: last.payload}

    @pytest.mark.parametrize("by", ["writer", "reader"])
    def test_a_success_is_not_overwritten(self, backend: Backend, by: str) -> None:
        self._must_keep()
        success = make_record(new_id(), SUCCESS, "first")
        self.store(backend, success)
        others = [make_record(success.id, state, "second") for state in (STARTED, FAILURE, SUCCESS)]
        with self.reading(backend) as reader:
            if by == "reader":
                reader.store(others)
            else:
                self.store(backend, *others)
                self.store(backend, success)
            assert reader.fetch([success.id]) == {success.id: success.payload}

    def test_results_expire(self, backend: Backend) -> None:
        self._must_keep()
        short, long, endless = (make_record(new_id(), expires_s=expires_s) for expires_s in (1.0, 3600.0, None))
        self.store(backend, short, long, endless)
        with self.reading(backend) as reader:
            self._wait_until(lambda: short.id not in reader.fetch([short.id]), "the result does not expire")
            assert set(reader.fetch([short.id, long.id, endless.id])) == {long.id, endless.id}
            self.store(backend, again := make_record(short.id, FAILURE))
            assert reader.fetch([short.id]) == {short.id: again.payload}, "an expired success stands in nobody's way"

    def test_many_results_at_once(self, backend: Backend) -> None:
        self._must_keep()
        records = [make_record(new_id(), result=number) for number in range(3000)]
        self.store(backend, *records)
        with self.reading(backend) as reader:
            found = reader.fetch([record.id for record in records])
            assert found == {record.id: record.payload for record in records}
            reader.forget([record.id for record in records])
            assert reader.fetch([record.id for record in records]) == {}

    def test_a_large_result(self, backend: Backend) -> None:
        self._must_keep()
        record = make_record(new_id(), result="x" * 2_000_000)
        self.store(backend, record)
        with self.reading(backend) as reader:
            assert reader.fetch([record.id]) == {record.id: record.payload}

    def test_one_reader_serves_many_threads(self, backend: Backend) -> None:
        self._must_keep()
        wrong: list[str] = []
        with self.reading(backend) as reader:

            def use() -> None:
                for _ in range(20):
                    record = make_record(new_id(), result=threading.get_ident())
                    reader.store([record])
                    if reader.fetch([record.id]) != {record.id: record.payload}:
                        wrong.append(record.id)

            threads = [threading.Thread(target=use) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not wrong

    # -- listening -------------------------------------------------------------------------------------------------

    def test_a_watched_result_is_told_when_it_arrives(self, backend: Backend) -> None:
        async def scenario() -> None:
            async with self.watching(backend) as watcher, self.writing(backend) as writer:
                record = self._record(watcher, new_id())
                await watcher.listener.watch([record.id])
                await asyncio.sleep(0.05)  # as a rule it waits by now; if not, it must work as well
                await writer.store([record])
                await watcher.see(record)

        asyncio.run(scenario())

    def test_a_result_that_is_there_already_is_told_at_once(self, backend: Backend) -> None:
        self._must_keep()

        async def scenario() -> None:
            async with self.writing(backend) as writer:
                record = make_record(new_id())
                await writer.store([record])
                async with self.watching(backend) as watcher:
                    await watcher.listener.watch([record.id])
                    await watcher.see(record)

        asyncio.run(scenario())

    def test_every_state_is_told_in_order(self, backend: Backend) -> None:
        async def scenario() -> None:
            async with self.watching(backend) as watcher, self.writing(backend) as writer:
                task_id = new_id()
                await watcher.listener.watch([task_id])
                for state in (STARTED, RETRY, STARTED, SUCCESS):
                    await writer.store([record := self._record(watcher, task_id, state)])
                    await watcher.see(record)
                assert watcher.states(task_id) == [STARTED, RETRY, STARTED, SUCCESS]

        asyncio.run(scenario())

    def test_what_a_client_stores_is_told_too(self, backend: Backend) -> None:
        self._must_keep()

        async def scenario() -> None:
            async with self.watching(backend) as watcher:
                record = make_record(new_id())
                await watcher.listener.watch([record.id])
                with self.reading(backend) as reader:
                    await asyncio.to_thread(reader.store, [record])
                await watcher.see(record)

        asyncio.run(scenario())

    def test_what_is_not_watched_is_not_told(self, backend: Backend) -> None:
        async def scenario() -> None:
            async with self.watching(backend) as watcher, self.writing(backend) as writer:
                watched, unwatched, never = (self._record(watcher, new_id()) for _ in range(3))
                await watcher.listener.watch([watched.id, unwatched.id])
                await watcher.listener.unwatch([unwatched.id, new_id()])
                await writer.store([never, unwatched, watched])
                await watcher.see(watched)
                assert set(watcher.told) == {watched.id}

        asyncio.run(scenario())

    def test_many_tasks_are_watched_at_once(self, backend: Backend) -> None:
        async def scenario() -> None:
            async with self.watching(backend) as watcher, self.writing(backend) as writer:
                records = [self._record(watcher, new_id()) for _ in range(1000)]
                await watcher.listener.watch([record.id for record in records[:500]])
                await writer.store(records[:250])
                await watcher.listener.watch([record.id for record in records[500:]])
                await writer.store(records[250:])
                await watcher.see(*records)

        asyncio.run(scenario())

    def test_watching_before_listening_is_enough(self, backend: Backend) -> None:
        """What is stored between `watch` and `run` is not missed."""

        async def scenario() -> None:
            async with self.writing(backend) as writer:
                watcher = Watcher(backend.listener(), self.deadline_s)
                await watcher.connect()
                try:
                    record = self._record(watcher, new_id())
                    await watcher.listener.watch([record.id])
                    await writer.store([record])
                    watcher.run()
                    await watcher.see(record)
                finally:
                    await watcher.close()

        asyncio.run(scenario())

    def test_a_listener_opened_again_watches_what_it_watched(self, backend: Backend) -> None:
        async def scenario() -> None:
            async with self.watching(backend) as watcher, self.writing(backend) as writer:
                before, after = (self._record(watcher, new_id()) for _ in range(2))
                await watcher.listener.watch([before.id, after.id])
                await watcher.open()
                await writer.store([before])
                await watcher.see(before)
                await watcher.open()
                await writer.store([after])
                await watcher.see(after)

        asyncio.run(scenario())

    def test_a_result_stored_while_the_listener_was_away_is_told(self, backend: Backend) -> None:
        self._must_keep()

        async def scenario() -> None:
            async with self.watching(backend) as watcher, self.writing(backend) as writer:
                record = make_record(new_id())
                await watcher.listener.watch([record.id])
                await watcher.stop()
                await writer.store([record])
                await watcher.open()
                await watcher.see(record)

        asyncio.run(scenario())

    def test_cut_connections_are_made_anew(self, backend: Backend, cut_connections: CutConnections | None) -> None:
        if cut_connections is None:
            pytest.skip("no way given to cut this backend's connections")

        async def scenario() -> None:
            with self.reading(backend) as reader:
                async with self.watching(backend) as watcher, self.writing(backend) as writer:
                    for _ in range(10):
                        record = self._record(watcher, new_id())
                        await watcher.listener.watch([record.id])
                        await asyncio.to_thread(cut_connections)
                        for attempt in range(10):
                            try:
                                await writer.store([record])
                                break
                            except BackendUnavailable:
                                assert attempt < 9, "the writer does not come back"
                        if self.keeps:
                            await watcher.see(record)
                            try:
                                found = reader.fetch([record.id])
                            except BackendUnavailable:
                                found = reader.fetch([record.id])
                            assert found == {record.id: record.payload}

        asyncio.run(scenario())

    def test_closing_is_idempotent(self, backend: Backend) -> None:
        reader = backend.reader()
        reader.close()
        reader.close()

        async def scenario() -> None:
            writer, listener = backend.writer(), backend.listener()
            await listener.open(lambda task_id, document: None)
            for side in (writer, listener):
                await side.close()
                await side.close()

        asyncio.run(scenario())

    def test_the_url_can_be_shown(self, backend: Backend) -> None:
        assert backend.stores
        assert isinstance(backend.shown_url(), str)

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

    def _record(self, watcher: Watcher, task_id: str, state: str = SUCCESS) -> Record:
        """Return a record addressed to the listener, where the backend sends results."""
        return make_record(task_id, state, reply_to=watcher.listener.reply_to or "")

    def _must_keep(self) -> None:
        if not self.keeps:
            pytest.skip("this backend sends results and keeps none")

    def _wait_until(self, condition: Callable[[], bool], complaint: str) -> None:
        until = time.monotonic() + self.deadline_s
        while not condition():
            assert time.monotonic() < until, complaint
            time.sleep(0.02)
