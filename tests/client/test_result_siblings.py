"""Results of calls that were sent together are read along when they are read one after the other."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from celeriac import Celeriac, exceptions, group
from celeriac.client import result_siblings
from celeriac.exceptions import TaskRevokedError
from tests.client.recording import RecordingBackend


@pytest.fixture
def double(app: Celeriac) -> Any:
    @app.task(name="double")
    def double(x: int) -> int:
        return 2 * x

    return double


def put_all(backend: RecordingBackend, results: Any) -> None:
    for n, result in enumerate(results):
        backend.put(result.id, "SUCCESS", n)


def test_in_order_they_take_few_questions(double: Any, backend: RecordingBackend) -> None:
    results = double.delay_many((n,) for n in range(100))
    put_all(backend, results)
    assert [result.get() for result in results] == list(range(100))
    assert backend.fetches == 7  # 1, 2, 4, 8, 16, 32 and the rest
    assert [result.get() for result in results] == list(range(100))
    assert backend.fetches == 7


def test_in_a_coroutine(double: Any, backend: RecordingBackend) -> None:
    results = double.delay_many((n,) for n in range(100))
    put_all(backend, results)

    async def in_order() -> list[int]:
        return [await result.aget() for result in results]

    assert asyncio.run(in_order()) == list(range(100))
    assert backend.fetches == 7
    assert backend.listeners[0].batches == []  # nothing had to be waited for


def test_all_at_once_in_coroutines(double: Any, backend: RecordingBackend) -> None:
    results = double.delay_many((n,) for n in range(100))
    put_all(backend, results)

    async def at_once() -> Any:
        return await asyncio.gather(*(result.aget(timeout=10) for result in results))

    assert asyncio.run(at_once()) == list(range(100))


def test_members_of_a_group_too(double: Any, backend: RecordingBackend) -> None:
    results = group(double.s(n) for n in range(15)).apply_async().results
    put_all(backend, results)
    assert [result.get() for result in results] == list(range(15))
    assert backend.fetches == 4


def test_in_any_order_each_is_asked_for(double: Any, backend: RecordingBackend) -> None:
    results = double.delay_many((n,) for n in range(10))
    put_all(backend, results)
    assert [result.get() for result in reversed(results)] == list(reversed(range(10)))
    assert backend.fetches == 10


def test_large_results_are_not_held(double: Any, backend: RecordingBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_siblings, "AHEAD_MAX_BYTES", 30_000)
    results = double.delay_many((n,) for n in range(20))
    for result in results:
        backend.put(result.id, "SUCCESS", "x" * 10_000)
    held = 0
    for result in results:
        assert result.get() == "x" * 10_000
        held = max(held, len(result._siblings[0]._found))
    assert held == 1  # two in one reading, and one of them was asked for


def test_what_was_not_there_is_asked_for_again(double: Any, backend: RecordingBackend) -> None:
    first, second, third = double.delay_many([(1,), (2,), (3,)])
    backend.put(first.id, "SUCCESS", 1)
    backend.put(second.id, "STARTED")
    assert first.get() == 1
    with pytest.raises(exceptions.TimeoutError, match="had not ended"):
        second.get(timeout=0.01)
    backend.put(second.id, "SUCCESS", 2)
    backend.put(third.id, "REVOKED", TaskRevokedError("revoked"))
    assert second.get(timeout=10) == 2
    with pytest.raises(TaskRevokedError):
        third.get(timeout=10)


def test_what_is_forgotten_is_not_remembered(double: Any, backend: RecordingBackend) -> None:
    results = double.delay_many((n,) for n in range(3))
    put_all(backend, results)
    assert results[0].get() == 0
    assert results[1].get() == 1  # and the third was read along
    results[2].forget()
    assert not results[2].ready()
    with pytest.raises(exceptions.TimeoutError, match="had not ended"):
        results[2].get(timeout=0.01)


def test_a_copy_is_alone(double: Any, backend: RecordingBackend) -> None:
    results = double.delay_many((n,) for n in range(3))
    put_all(backend, results)
    assert [copy.copy(result).get() for result in results] == [0, 1, 2]
    assert backend.fetches == 3


def test_the_callback_is_called(double: Any, backend: RecordingBackend) -> None:
    results = double.delay_many([(1,), (2,)])
    put_all(backend, results)
    told: list[Any] = []
    for result in results:
        result.get(callback=lambda task_id, value: told.append((task_id, value)))
    assert told == [(results[0].id, 0), (results[1].id, 1)]
