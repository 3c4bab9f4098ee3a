"""The conformance suite for result backends: what every one has to do, whoever wrote it.

To run it against a backend of yours, subclass `BackendSuite` in a test module and give the fixture `make_backend`:

    import pytest
    from celeriac.core.settings import make_settings
    from celeriac.testing.backend_suite import BackendSuite

    class TestMyBackend(BackendSuite):
        @pytest.fixture
        def make_backend(self, tmp_path):
            return lambda **settings: MyBackend(f"mine://{tmp_path}", make_settings(settings))

For failures that show what was compared, put `pytest.register_assert_rewrite("celeriac.testing")` into `conftest.py`.

`make_backend` opens a place that is empty when the test begins.  A backend that sends results to a reply queue instead of
storing them sets `keeps = False`.  Chords and saved groups are asked of those that have `counts_chords`; of the others, an error
that names the cure.  The optional fixture `cut_connections` returns a function `()` that breaks every connection
to the store while the store goes on.
"""

from __future__ import annotations

import asyncio
import threading

import pytest

from celeriac.core.ports import Backend
from celeriac.core.states import FAILURE, RETRY, STARTED, SUCCESS
from celeriac.exceptions import BackendUnavailable
from celeriac.testing.backend_base import BackendCases, CutConnections, MakeBackend, Watcher, make_record, new_id
from celeriac.testing.backend_chord_cases import ChordCases
from celeriac.testing.backend_group_cases import GroupCases

__all__ = ["BackendCases", "BackendSuite", "CutConnections", "MakeBackend", "Watcher", "make_record", "new_id"]


class BackendSuite(ChordCases, GroupCases, BackendCases):
    """Everything that is asked of a result backend."""

    # -- reading and writing ---------------------------------------------------------------------------------------

    def test_what_the_worker_stores_the_client_reads(self, backend: Backend) -> None:
        self.must_keep()
        records = [make_record(new_id(), result=number) for number in range(3)]
        self.store(backend, *records)
        with self.reading(backend) as reader:
            found = reader.fetch([*(record.id for record in records), new_id()])
            assert found == {record.id: record.payload for record in records}
            assert reader.fetch([]) == {}

    def test_what_a_client_stores_a_client_reads(self, backend: Backend) -> None:
        self.must_keep()
        record = make_record(new_id(), result="größe " * 1000)
        with self.reading(backend) as reader, self.reading(backend) as other:
            reader.store([record])
            assert other.fetch([record.id]) == {record.id: record.payload}

    def test_forgotten_results_are_gone(self, backend: Backend) -> None:
        self.must_keep()
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
        self.must_keep()
        task_id = new_id()
        with self.reading(backend) as reader:
            for state in (STARTED, RETRY, FAILURE, SUCCESS):
                record = make_record(task_id, state)
                self.store(backend, record)
                assert reader.fetch([task_id]) == {task_id: record.payload}

    def test_two_states_in_one_batch_are_stored_in_order(self, backend: Backend) -> None:
        self.must_keep()
        task_id = new_id()
        self.store(backend, make_record(task_id, STARTED), last := make_record(task_id, SUCCESS, 1))
        with self.reading(backend) as reader:
            assert reader.fetch([task_id]) == {task_id: last.payload}

    @pytest.mark.parametrize("by", ["writer", "reader"])
    def test_a_success_is_not_overwritten(self, backend: Backend, by: str) -> None:
        self.must_keep()
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
        self.must_keep()
        short, long, endless = (make_record(new_id(), expires_s=expires_s) for expires_s in (1.0, 3600.0, None))
        self.store(backend, short, long, endless)
        with self.reading(backend) as reader:
            self.wait_until(lambda: short.id not in reader.fetch([short.id]), "the result does not expire")
            assert set(reader.fetch([short.id, long.id, endless.id])) == {long.id, endless.id}
            self.store(backend, again := make_record(short.id, FAILURE))
            assert reader.fetch([short.id]) == {short.id: again.payload}, "an expired success stands in nobody's way"

    def test_many_results_at_once(self, backend: Backend) -> None:
        self.must_keep()
        records = [make_record(new_id(), result=number) for number in range(3000)]
        self.store(backend, *records)
        with self.reading(backend) as reader:
            found = reader.fetch([record.id for record in records])
            assert found == {record.id: record.payload for record in records}
            reader.forget([record.id for record in records])
            assert reader.fetch([record.id for record in records]) == {}

    def test_a_large_result(self, backend: Backend) -> None:
        self.must_keep()
        record = make_record(new_id(), result="x" * 2_000_000)
        self.store(backend, record)
        with self.reading(backend) as reader:
            assert reader.fetch([record.id]) == {record.id: record.payload}

    def test_one_reader_serves_many_threads(self, backend: Backend) -> None:
        self.must_keep()
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
                record = self.record_for(watcher, new_id())
                await watcher.listener.watch([record.id])
                await asyncio.sleep(0.05)  # as a rule it waits by now; if not, it must work as well
                await writer.store([record])
                await watcher.see(record)

        asyncio.run(scenario())

    def test_a_result_that_is_there_already_is_told_at_once(self, backend: Backend) -> None:
        self.must_keep()

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
                    await writer.store([record := self.record_for(watcher, task_id, state)])
                    await watcher.see(record)
                assert watcher.states(task_id) == [STARTED, RETRY, STARTED, SUCCESS]

        asyncio.run(scenario())

    def test_what_a_client_stores_is_told_too(self, backend: Backend) -> None:
        self.must_keep()

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
                watched, unwatched, never = (self.record_for(watcher, new_id()) for _ in range(3))
                await watcher.listener.watch([watched.id, unwatched.id])
                await watcher.listener.unwatch([unwatched.id, new_id()])
                await writer.store([never, unwatched, watched])
                await watcher.see(watched)
                assert set(watcher.told) == {watched.id}

        asyncio.run(scenario())

    def test_many_tasks_are_watched_at_once(self, backend: Backend) -> None:
        async def scenario() -> None:
            async with self.watching(backend) as watcher, self.writing(backend) as writer:
                records = [self.record_for(watcher, new_id()) for _ in range(1000)]
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
                    record = self.record_for(watcher, new_id())
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
                before, after = (self.record_for(watcher, new_id()) for _ in range(2))
                await watcher.listener.watch([before.id, after.id])
                await watcher.open()
                await writer.store([before])
                await watcher.see(before)
                await watcher.open()
                await writer.store([after])
                await watcher.see(after)

        asyncio.run(scenario())

    def test_a_result_stored_while_the_listener_was_away_is_told(self, backend: Backend) -> None:
        self.must_keep()

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
                        record = self.record_for(watcher, new_id())
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
