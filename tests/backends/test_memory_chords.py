"""Chords in memory: by the clock given, and for threads."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.backends.memory import MemoryBackend
from celeriac.backends.memory_expiry import Expiring
from celeriac.core.settings import make_settings
from celeriac.core.workflow import CLOSED_KEPT_MIN_S, CLOSED_KEPT_S, ChordOpening, Part


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(clock: Clock) -> MemoryBackend:
    return MemoryBackend("memory://", make_settings({}), clock)


def join(backend: MemoryBackend, *parts: Part) -> list[bool]:
    return asyncio.run(backend.writer().join(parts))


def part(index: int, expires_s: float | None = 10.0) -> Part:
    return Part("g", f"m{index}", index, b"%d" % index, expires_s)


def test_what_is_kept_of_a_chord_expires_by_the_clock(backend: MemoryBackend, clock: Clock) -> None:
    reader = backend.reader()
    reader.open_chords([ChordOpening("g", 2, 10.0)])
    clock.now += 9
    assert join(backend, part(0)) == [False]
    clock.now += 9
    (state,) = reader.chords()
    assert (state.size, state.ended, state.updated_at) == (2, 1, clock.now - 9), "each part renews it"
    clock.now += 2
    assert reader.chords() == []
    assert join(backend, part(1)) == [False], "it is another chord now, whose size nobody knows"
    (state,) = reader.chords()
    assert (state.size, state.ended) == (None, 1)


@pytest.mark.parametrize(
    "opened, kept_s",
    [(10.0, CLOSED_KEPT_MIN_S), (1000.0, 1000.0), (0.0, CLOSED_KEPT_S)],
    ids=["short", "long", "never"],
)
def test_that_a_chord_is_closed_stays_known_for_a_time(
    opened: float, kept_s: float, backend: MemoryBackend, clock: Clock
) -> None:
    reader = backend.reader()
    if opened:
        reader.open_chords([ChordOpening("g", 1, opened)])
    reader.close_chords(["g"])
    clock.now += kept_s - 1
    reader.close_chords(["g"])  # which makes it no younger
    assert join(backend, part(0)) == [False]
    assert reader.chords() == []
    clock.now += 1
    reader.open_chords([ChordOpening("g", 1, 10.0)])
    assert join(backend, part(0)) == [True]


def test_whoever_finishes_a_chord_does_not_see_it_change(backend: MemoryBackend) -> None:
    reader = backend.reader()
    reader.open_chords([ChordOpening("g", 1, 10.0)])
    twice = [Part("g", "m", place, b"%d" % place, 10.0) for place in (0, 1)]
    assert join(backend, *twice, *twice) == [True, False, True, False], (
        "it is the part that finishes, not all of its member"
    )
    assert reader.collect("g").parts == [b"0"]
    assert reader.chords()[0].ended == 1


def test_saved_groups_expire_by_the_clock(backend: MemoryBackend, clock: Clock) -> None:
    reader = backend.reader()
    reader.save_group("short", b"short", 10.0)
    reader.save_group("endless", b"endless", None)
    clock.now += 10
    assert [reader.fetch_group(group) for group in ("short", "endless")] == [None, b"endless"]


def test_a_chord_has_one_finisher_whatever_the_threads_do(backend: MemoryBackend) -> None:
    backend.reader().open_chords([ChordOpening("g", 200, None)])
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda number: join(backend, part(number % 200, None)), range(1600)))
    finishers = {number % 200 for number, (is_finisher,) in enumerate(told) if is_finisher}
    assert len(finishers) == 1
    assert backend.reader().collect("g").parts == [b"%d" % number for number in range(200)]


def test_a_key_that_is_put_again_and_again_costs_no_more_memory() -> None:
    kept = Expiring[int]()
    for number in range(1000):
        kept.put("key", number, 10.0 + number)
    assert len(kept._looks) == 1
    kept.expire(500.0)
    assert kept.get("key") == 999
    kept.put("key", 1000, 600.0)  # sooner than before
    kept.expire(600.0)
    assert kept.get("key") is None
    kept.put("key", 1, 700.0)
    kept.pop("key")
    kept.expire(2000.0)
    assert (kept._looks, kept._next_look) == ([], {})
