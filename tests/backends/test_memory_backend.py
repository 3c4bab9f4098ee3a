"""The memory and the disabled result backend where they differ from the others."""

from __future__ import annotations

import asyncio

from celeriac.backends import open_backend
from celeriac.backends.memory import MemoryBackend
from celeriac.core.settings import make_settings
from celeriac.testing.backend_suite import make_record


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_two_backends_with_one_url_are_two_places() -> None:
    one, two = (MemoryBackend("memory://same", make_settings({})) for _ in range(2))
    one.reader().store([record := make_record("x")])
    assert one.reader().fetch(["x"]) == {"x": record.payload}
    assert two.reader().fetch(["x"]) == {}


def test_results_expire_by_the_clock_given() -> None:
    clock = Clock()
    reader = MemoryBackend("memory://", make_settings({}), clock).reader()
    reader.store([make_record("x", expires_s=10), make_record("y", "FAILURE", expires_s=10)])
    clock.now += 5
    reader.store([again := make_record("y", expires_s=10)])
    clock.now += 6
    assert reader.fetch(["x", "y"]) == {"y": again.payload}, "what is stored again is kept anew"
    clock.now += 5
    assert reader.fetch(["x", "y"]) == {}


def test_a_loop_closed_without_a_word_hinders_nobody() -> None:
    backend = MemoryBackend("memory://", make_settings({}))

    async def scenario() -> None:
        await backend.listener().open(lambda task_id, document: None)

    asyncio.run(scenario())
    backend.reader().store([record := make_record("x")])
    assert backend.reader().fetch(["x"]) == {"x": record.payload}


def test_the_disabled_backend_keeps_nothing_and_fails_nowhere() -> None:
    backend = open_backend("disabled://", make_settings({}))
    assert not backend.stores
    assert backend.shown_url() == "disabled://"
    reader = backend.reader()
    reader.store([make_record("x")])
    assert reader.fetch(["x"]) == {}
    reader.forget(["x"])
    reader.close()

    async def scenario() -> None:
        told: list[str] = []
        listener, writer = backend.listener(), backend.writer()
        await listener.open(lambda task_id, document: told.append(task_id))
        running = asyncio.create_task(listener.run())
        await listener.watch(["x"])
        await writer.store([make_record("x")])
        await listener.unwatch(["x"])
        await asyncio.sleep(0)
        assert not running.done(), "run() receives until it is cancelled"
        running.cancel()
        await asyncio.wait([running])
        await listener.close()
        await writer.close()
        assert told == []

    asyncio.run(scenario())
