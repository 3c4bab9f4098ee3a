"""A worker whose results and chords live in a database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac, Task
from celeriac.canvas import chain, chord, group, signature
from celeriac.contrib.testing.worker import start_worker
from celeriac.exceptions import BackendUnavailable, ChordError, MessageTooLarge
from tests.backends.sqlalchemy_places import Place

TIMEOUT_S = 30.0


@pytest.fixture
def app(place: Place, tmp_path: Path) -> Iterator[Celeriac]:
    app = Celeriac("shop", broker=f"sqlite:///{tmp_path}/broker.db", backend=place.backend_url, set_as_current=False)
    app.conf.update(result_extended=True, result_max_bytes=100_000)
    with app:
        yield app


def test_results_of_a_worker(app: Celeriac, place: Place) -> None:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="fail", throws=(KeyError,))
    def fail() -> None:
        raise KeyError("größe")

    @app.task(name="grow")
    def grow() -> str:
        return "x" * 200_000

    @app.task(name="parent", bind=True)
    def parent(self: Task[[], str], state: str) -> list[Any]:
        self.update_state(state=state, meta={"done": 1})
        return [add.delay(3, 4).id]

    with start_worker(app, perform_ping_check=False):
        assert [result.get(timeout=TIMEOUT_S) for result in [add.delay(n, n) for n in range(50)]] == list(
            range(0, 100, 2)
        )
        with pytest.raises(KeyError, match="größe"):
            fail.delay().get(timeout=TIMEOUT_S)
        with pytest.raises(MessageTooLarge, match="result_max_bytes"):
            grow.delay().get(timeout=TIMEOUT_S)
        sent = parent.delay("HALFWAY")
        (child,) = sent.get(timeout=TIMEOUT_S)
        assert app.AsyncResult(child).get(timeout=TIMEOUT_S) == 7
        found = app.AsyncResult(sent.id)
        assert [part.id for part in found.children or []] == [child]
        assert (found.name, found.args, found.retries) == ("parent", ["HALFWAY"], 0)

        async def many() -> list[int]:
            return await asyncio.gather(
                *[(await add.adelay(number, 1)).aget(timeout=TIMEOUT_S) for number in range(20)]
            )

        assert asyncio.run(many()) == list(range(1, 21))
        sent.forget()
        assert app.AsyncResult(sent.id).state == "PENDING"
    states = place.execute("SELECT status, count(*) FROM celery_taskmeta GROUP BY status ORDER BY status")
    assert states == [("FAILURE", 2), ("SUCCESS", 71)]


class Sums:
    """Tasks for chords."""

    def __init__(self, app: Celeriac) -> None:
        self.totals: list[Any] = []

        @app.task(name="double")
        def double(x: int) -> int:
            return 2 * x

        @app.task(name="total")
        def total(values: list[int]) -> int:
            self.totals.append(values)
            return sum(values)

        @app.task(name="fails", throws=(ValueError,))
        def fails() -> int:
            raise ValueError("no")

        @app.task(name="adds", bind=True)
        def adds(self: Any) -> int:
            self.add_to_chord(signature("double", (50,), app=app))
            return 1

        self.double, self.total, self.fails, self.adds = double, total, fails, adds


def test_chords_of_a_worker(app: Celeriac, place: Place) -> None:
    sums = Sums(app)
    with start_worker(app, concurrency=4, perform_ping_check=False):
        sent = [chord([sums.double.s(n) for n in range(size)])(sums.total.s()) for size in (1, 2, 5, 40)]
        expected = [list(range(0, 2 * size, 2)) for size in (1, 2, 5, 40)]
        assert [result.get(timeout=TIMEOUT_S) for result in sent] == [sum(values) for values in expected]
        assert sorted(sums.totals, key=len) == expected, "in the order of the header, and each once"

        steps = chain(sums.double.s(1), group(sums.double.s(), sums.double.s()), sums.total.s(), sums.double.s())
        assert steps().get(timeout=TIMEOUT_S) == 16

        failing = chord([sums.double.s(1), sums.fails.s()])(sums.total.s())
        with pytest.raises(ChordError, match="ValueError"):
            app.AsyncResult(failing.id).get(timeout=TIMEOUT_S)

        assert chord([sums.adds.s(), sums.double.s(3)])(sums.total.s()).get(timeout=TIMEOUT_S) == 107

        many = group(sums.double.s(n) for n in range(5)).delay()
        assert many.get(timeout=TIMEOUT_S) == [0, 2, 4, 6, 8]
        many.save()
        restored = app.GroupResult.restore(many.id)
        assert restored is not None
        assert restored.get(timeout=TIMEOUT_S) == [0, 2, 4, 6, 8]
    assert place.execute("SELECT count(*) FROM celeriac_chord WHERE closed = 0") == [(0,)]
    assert place.execute("SELECT count(*) FROM celeriac_chord_part") == [(0,)]


def test_chords_end_however_often_connections_are_cut(app: Celeriac, place: Place) -> None:
    if not place.has_connections:
        pytest.skip("no connections to cut")
    sums = Sums(app)
    stop = threading.Event()

    def keep_cutting() -> None:
        for _ in range(50):  # not for ever: a machine may be too slow for anything to be done in between
            if stop.wait(0.1):
                return
            place.cut()

    cutting = threading.Thread(target=keep_cutting)
    with start_worker(app, concurrency=4, perform_ping_check=False):
        sent = [chord([sums.double.s(n) for n in range(10)])(sums.total.s()) for _ in range(12)]
        cutting.start()  # only now: a call that is cut raises, in the caller
        try:
            assert [value_of(app, result.id) for result in sent] == [90] * 12
        finally:
            stop.set()
            cutting.join()
    assert sums.totals == [list(range(0, 20, 2))] * 12


def value_of(app: Celeriac, task_id: str) -> Any:
    """Ask again when the very call was cut: `get` says so, and waits for nothing."""
    for attempt in range(20):
        try:
            return app.AsyncResult(task_id).get(timeout=60)
        except BackendUnavailable:
            assert attempt < 19
    return None
