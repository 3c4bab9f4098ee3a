"""Cases of the backend suite: chords, for the backends that can count; and the error of those that can't."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

from celeriac.core.ports import Backend, ResultReader, ResultWriter
from celeriac.core.workflow import ChordOpening, ChordState, Collected, Part
from celeriac.exceptions import BackendUnavailable, ImproperlyConfigured
from celeriac.testing.backend_base import BackendCases, CutConnections, new_id

CURE: Final = r"set result_backend to .*redis://"
"""What everybody is told whose backend cannot count."""


def make_opening(
    group_id: str, size: int, *, expires_s: float | None = 3600.0, body: bytes = b"the body"
) -> ChordOpening:
    """Return the opening of a chord."""
    return ChordOpening(group_id, size, expires_s, body)


def make_part(
    group_id: str,
    member_id: str,
    index: int | None = None,
    result: object = "null",
    *,
    expires_s: float | None = 3600.0,
    body: bytes = b"",
) -> Part:
    """Return a member's part as a worker would leave it."""
    payload = f'[1, "{member_id}", "SUCCESS", {result}]'.encode()
    return Part(group_id, member_id, index, payload, expires_s, body)


def make_parts(group_id: str, count: int) -> list[Part]:
    """Return the parts of `count` members, in order."""
    return [make_part(group_id, f"{group_id}-{index}", index, index) for index in range(count)]


class ChordCases(BackendCases):
    """From a chord's opening to its close."""

    # -- who finishes ----------------------------------------------------------------------------------------------

    def test_the_last_part_finishes_the_chord(self, counting: Backend) -> None:
        group = new_id()
        self.open_chords(counting, make_opening(group, 3))
        first, second, third = make_parts(group, 3)
        assert self.join(counting, second) == [False]
        assert self.join(counting, first) == [False]
        assert self.join(counting, third) == [True]

    def test_parts_in_one_batch_are_joined_in_order(self, counting: Backend) -> None:
        one, two = new_id(), new_id()
        self.open_chords(counting, make_opening(one, 2), make_opening(two, 1))
        (first, last), (only,) = make_parts(one, 2), make_parts(two, 1)
        assert self.join(counting, last, only, first, last) == [False, True, True, False]
        assert self.join(counting) == []

    def test_the_worker_opens_chords_too(self, counting: Backend) -> None:
        group = new_id()

        async def scenario(writer: ResultWriter) -> None:
            await writer.open_chords([make_opening(group, 2)])
            assert await writer.join(make_parts(group, 2)) == [False, True]

        self.with_writer(counting, scenario)

    def test_a_repeated_part_counts_once(self, counting: Backend) -> None:
        group = new_id()
        self.open_chords(counting, make_opening(group, 2))
        first = make_part(group, "a", 0, 1)
        again = make_part(group, "a", 0, 2)
        assert self.join(counting, first, first, again) == [False, False, False]
        assert self.join(counting, make_part(group, "b", 1, 3)) == [True]
        assert self.collected(counting, group).parts[0] == first.payload, "the first run's result counts"

    def test_a_member_with_two_places_counts_twice(self, counting: Backend) -> None:
        """One frozen signature may stand twice in a header."""
        group = new_id()
        self.open_chords(counting, make_opening(group, 3))
        left, right = make_part(group, "a", 0), make_part(group, "a", 2)
        assert self.join(counting, left, right, left, right) == [False] * 4
        assert self.join(counting, middle := make_part(group, "b", 1)) == [True]
        found = self.collected(counting, group).parts
        assert [payload.strip() for payload in found] == [left.payload, middle.payload, right.payload]

    def test_the_finisher_is_so_again_until_the_chord_is_closed(self, counting: Backend) -> None:
        group = new_id()
        self.open_chords(counting, make_opening(group, 2))
        first, last = make_parts(group, 2)
        assert self.join(counting, first, last) == [False, True]
        for _ in range(3):
            assert self.join(counting, last) == [True]
            assert self.join(counting, first) == [False]
        with self.reading(counting) as reader:
            reader.close_chords([group])
        assert self.join(counting, last, first) == [False, False]

    def test_a_part_may_come_before_the_size(self, counting: Backend) -> None:
        group = new_id()
        first, last = make_parts(group, 2)
        assert self.join(counting, first) == [False]
        (state,) = self.chords(counting, [group])
        assert (state.size, state.ended, state.claimed) == (None, 1, False)
        self.open_chords(counting, make_opening(group, 2))
        assert self.join(counting, last) == [True]
        assert self.collected(counting, group).parts == [first.payload, last.payload]

    def test_a_chord_that_was_complete_before_its_size_is_finished_by_whom_comes_again(self, counting: Backend) -> None:
        group = new_id()
        first, last = make_parts(group, 2)
        assert self.join(counting, first, last) == [False, False]
        self.open_chords(counting, make_opening(group, 2))
        assert self.join(counting, first, last) == [True, False]

    def test_opening_again_changes_nothing(self, counting: Backend) -> None:
        group = new_id()
        opening = make_opening(group, 2)
        first, last = make_parts(group, 2)
        self.open_chords(counting, opening, opening)
        assert self.join(counting, first) == [False]
        self.open_chords(counting, opening)
        assert self.join(counting, last) == [True]
        self.open_chords(counting, opening)
        assert self.join(counting, first, last) == [False, True]
        assert self.chords(counting, [group])[0].ended == 2

    # -- when it is over -------------------------------------------------------------------------------------------

    def test_a_closed_chord_stays_closed(self, counting: Backend) -> None:
        group = new_id()
        opening, parts = make_opening(group, 2), make_parts(group, 2)
        self.open_chords(counting, opening)
        self.join(counting, *parts)
        with self.reading(counting) as reader:
            reader.close_chords([group])
            reader.close_chords([group])
            for _ in range(2):
                assert reader.chords([group]) == []
                assert reader.chords() == []
                assert reader.collect(group) == Collected([])
                reader.open_chords([opening])
                reader.extend_chord(group, "late", 3600.0)
                assert self.join(counting, *parts, make_part(group, "new", 7)) == [False] * 3

    def test_the_worker_closes_chords_too(self, counting: Backend) -> None:
        groups = [new_id() for _ in range(3)]
        self.open_chords(counting, *(make_opening(group, 1) for group in groups))

        async def scenario(writer: ResultWriter) -> None:
            assert await writer.join([make_part(group, "a", 0) for group in groups]) == [True] * 3
            await writer.close_chords(groups[:2])
            await writer.close_chords([])
            assert await writer.join([make_part(group, "a", 0) for group in groups]) == [False, False, True]
            assert [state.group_id for state in await writer.chords(10)] == groups[2:]
            assert await writer.collect(groups[0]) == Collected([])

        self.with_writer(counting, scenario)

    def test_what_is_closed_before_it_was_known_stays_closed(self, counting: Backend) -> None:
        group = new_id()
        with self.reading(counting) as reader:
            reader.close_chords([group, new_id()])
            reader.open_chords([make_opening(group, 1)])
            assert self.join(counting, *make_parts(group, 1)) == [False]
            assert reader.chords([group]) == []

    def test_what_is_kept_of_a_chord_expires(self, counting: Backend) -> None:
        short, renewed, long, endless = (new_id() for _ in range(4))
        self.open_chords(counting, *(make_opening(group, 2, expires_s=2.0) for group in (short, renewed)))
        self.open_chords(counting, make_opening(long, 2), make_opening(endless, 2, expires_s=None))
        first, last = make_parts(renewed, 2)
        self.join(counting, make_part(short, "a", 0, expires_s=1.0), first, make_part(endless, "a", 0, expires_s=None))
        self.wait_until(lambda: not self.chords(counting, [short]), "the chord does not expire")
        assert {state.group_id for state in self.chords(counting)} == {renewed, long, endless}
        assert self.collected(counting, short) == Collected([])
        assert self.join(counting, last) == [True], "each part renews the time"

    # -- one more member -------------------------------------------------------------------------------------------

    def test_an_extended_chord_waits_for_one_more(self, counting: Backend) -> None:
        group = new_id()
        self.open_chords(counting, make_opening(group, 2))
        with self.reading(counting) as reader:
            for member_id in ("more", "more", "even more", "more"):
                reader.extend_chord(group, member_id, 3600.0)
        (state,) = self.chords(counting, [group])
        assert state.size == 4
        assert self.join(counting, *make_parts(group, 2), make_part(group, "more")) == [False] * 3
        assert self.join(counting, make_part(group, "even more")) == [True]

    def test_an_opening_does_not_undo_an_extension(self, counting: Backend) -> None:
        group = new_id()
        with self.reading(counting) as reader:
            reader.open_chords([make_opening(group, 1)])
            reader.extend_chord(group, "more", None)
            reader.open_chords([make_opening(group, 1)])
        assert self.join(counting, *make_parts(group, 1)) == [False]
        assert self.join(counting, make_part(group, "more", 1)) == [True]

    # -- looking at it ---------------------------------------------------------------------------------------------

    def test_parts_are_collected_by_index(self, counting: Backend) -> None:
        group = new_id()
        self.open_chords(counting, make_opening(group, 13))
        parts = make_parts(group, 12)
        last = make_part(group, "without a place")
        self.join(counting, last, *parts[6:], *reversed(parts[:6]))
        expected = Collected([part.payload for part in (*parts, last)])
        assert self.collected(counting, group) == expected

        async def scenario(writer: ResultWriter) -> None:
            assert await writer.collect(group) == expected

        self.with_writer(counting, scenario)

    def test_nothing_is_known_of_an_unknown_chord(self, counting: Backend) -> None:
        with self.reading(counting) as reader:
            assert reader.collect(new_id()) == Collected([])
            assert reader.chords() == reader.chords([]) == reader.chords([new_id()]) == []

    def test_open_chords_are_told_of(self, counting: Backend) -> None:
        group = new_id()
        self.open_chords(counting, make_opening(group, 3, body="größe".encode()))
        expected = [(0, False), (1, False), (2, False), (3, True), (3, True)]
        for part, (ended, claimed) in zip(
            [None, *make_parts(group, 3), make_parts(group, 3)[2]], expected, strict=True
        ):
            if part is not None:
                self.join(counting, part)
            (state,) = self.chords(counting, [group])
            assert abs(state.updated_at - time.time()) < 3600
            assert state == ChordState(group, 3, ended, state.updated_at, claimed, "größe".encode())
            assert self.chords(counting) == [state]

    def test_chords_without_progress_for_longest_come_first(self, counting: Backend) -> None:
        groups = [new_id() for _ in range(5)]
        for group in groups:
            self.open_chords(counting, make_opening(group, 3))
            time.sleep(0.01)
        for group in (groups[2], groups[0]):
            self.join(counting, make_part(group, "a", 0))
            time.sleep(0.01)
        self.join(counting, make_part(groups[2], "a", 0))  # which is no progress
        expected = [groups[number] for number in (1, 3, 4, 2, 0)]
        with self.reading(counting) as reader:
            assert [state.group_id for state in reader.chords()] == expected
            assert [state.group_id for state in reader.chords(limit=3)] == expected[:3]
            some = [groups[0], new_id(), groups[4]]
            assert [state.group_id for state in reader.chords(some)] == [groups[4], groups[0]]
            assert [state.group_id for state in reader.chords(some, 1)] == [groups[4]]

        async def scenario(writer: ResultWriter) -> None:
            assert [state.group_id for state in await writer.chords(3)] == expected[:3]

        self.with_writer(counting, scenario)

    def test_a_part_tells_the_body_where_the_opening_did_not(self, counting: Backend) -> None:
        known, unknown = new_id(), new_id()
        self.open_chords(counting, make_opening(known, 2), make_opening(unknown, 2, body=b""))
        self.join(counting, *(make_part(group, "a", 0, body=b"of the part") for group in (known, unknown)))
        bodies = {state.group_id: state.body for state in self.chords(counting)}
        assert bodies == {known: b"the body", unknown: b"of the part"}

    # -- many at once ----------------------------------------------------------------------------------------------

    def test_a_chord_of_many_large_parts(self, counting: Backend) -> None:
        group = new_id()
        self.open_chords(counting, make_opening(group, 1001))
        large = make_part(group, "large", 1000, f'"{"x" * 1_000_000}"')
        assert self.join(counting, *make_parts(group, 1000), large) == [False] * 1000 + [True]
        assert self.collected(counting, group).parts == [part.payload for part in (*make_parts(group, 1000), large)]

    def test_one_finisher_however_many_join_at_once(self, counting: Backend) -> None:
        self._join_at_once(counting, [new_id()], members=40, threads=8)

    def test_chords_do_not_disturb_each_other(self, counting: Backend) -> None:
        self._join_at_once(counting, [new_id() for _ in range(10)], members=12, threads=4)

    def _join_at_once(self, backend: Backend, groups: list[str], members: int, threads: int) -> None:
        """Join every member twice, from threads with writers of their own; each chord must have one finisher."""
        self.open_chords(backend, *(make_opening(group, members) for group in groups))
        parts = [part for at in range(members) for part in (make_parts(group, members)[at] for group in groups)]
        told: list[tuple[Part, bool]] = []
        start = threading.Barrier(threads)

        def work(number: int) -> None:
            async def scenario(writer: ResultWriter) -> None:
                await writer.join([])
                await asyncio.to_thread(start.wait, self.deadline_s)
                mine = parts[number::threads]
                for some in (*([part] for part in mine), mine):  # one by one, and then all once more
                    told.extend(zip(some, await writer.join(some), strict=True))

            self.with_writer(backend, scenario)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(told) == 2 * len(parts), "a thread failed"
        finishers = {(part.group_id, part.member_id) for part, finishes in told if finishes}
        assert Counter(group for group, _ in finishers) == Counter(groups)
        for group in groups:
            assert self.collected(backend, group).parts == [part.payload for part in make_parts(group, members)]

    def test_a_part_is_joined_again_after_a_cut(
        self, counting: Backend, cut_connections: CutConnections | None
    ) -> None:
        if cut_connections is None:
            pytest.skip("no way given to cut this backend's connections")
        group = new_id()
        self.open_chords(counting, make_opening(group, 5))
        told: list[bool] = []

        async def scenario(writer: ResultWriter) -> None:
            for part in make_parts(group, 5):
                await asyncio.to_thread(cut_connections)
                for attempt in range(10):
                    try:
                        told.extend(await writer.join([part]))
                        break
                    except BackendUnavailable:
                        assert attempt < 9, "the writer does not come back"

        self.with_writer(counting, scenario)
        assert told == [False] * 4 + [True]

    # -- backends that can't ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("operation", ["open_chords", "extend_chord", "chords", "collect", "close_chords"])
    def test_who_cannot_count_says_who_can(self, backend: Backend, operation: str) -> None:
        if backend.counts_chords:
            pytest.skip("this backend counts")
        arguments: dict[str, tuple[Any, ...]] = {
            "open_chords": ([make_opening(new_id(), 1)],),
            "extend_chord": (new_id(), "a", None),
            "chords": (),
            "collect": (new_id(),),
            "close_chords": ([new_id()],),
        }
        with (
            self.reading(backend) as reader,
            pytest.raises(ImproperlyConfigured, match=CURE),
        ):
            getattr(reader, operation)(*arguments[operation])

    def test_whose_writer_cannot_count_says_who_can(self, backend: Backend) -> None:
        if backend.counts_chords:
            pytest.skip("this backend counts")

        async def scenario(writer: ResultWriter) -> None:
            for call in (
                writer.open_chords([make_opening(new_id(), 1)]),
                writer.join(make_parts(new_id(), 1)),
                writer.collect(new_id()),
                writer.close_chords([new_id()]),
                writer.chords(10),
            ):
                with pytest.raises(ImproperlyConfigured, match=CURE):
                    await call

        self.with_writer(backend, scenario)

    # -- helpers ---------------------------------------------------------------------------------------------------

    @pytest.fixture
    def counting(self, backend: Backend) -> Backend:
        """The backend under test, if it counts."""
        if not backend.counts_chords:
            pytest.skip("this backend can't count")
        return backend

    def with_writer(self, backend: Backend, scenario: Callable[[ResultWriter], Coroutine[Any, Any, None]]) -> None:
        """Run something with a writer of its own."""

        async def run() -> None:
            async with self.writing(backend) as writer:
                await scenario(writer)

        asyncio.run(run())

    def join(self, backend: Backend, *parts: Part) -> list[bool]:
        """Join parts as a worker does."""
        told: list[bool] = []

        async def scenario(writer: ResultWriter) -> None:
            told.extend(await writer.join(parts))

        self.with_writer(backend, scenario)
        return told

    def open_chords(self, backend: Backend, *openings: ChordOpening) -> None:
        """Open chords as a client does."""
        self._read(backend, lambda reader: reader.open_chords(openings))

    def chords(self, backend: Backend, group_ids: list[str] | None = None) -> list[ChordState]:
        """Return the open ones of these chords, or of all."""
        found: list[ChordState] = []
        self._read(backend, lambda reader: found.extend(reader.chords(group_ids)))
        return found

    def collected(self, backend: Backend, group_id: str) -> Collected:
        """Return a chord's parts."""
        with self.reading(backend) as reader:
            return reader.collect(group_id)

    def _read(self, backend: Backend, use: Callable[[ResultReader], None]) -> None:
        with self.reading(backend) as reader:
            use(reader)
