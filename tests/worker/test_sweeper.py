"""A worker names workflows that are stuck."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from celeriac import Celeriac, chord
from celeriac.core.workflow import ChordOpening, Part
from celeriac.testing.clock import VirtualClock
from celeriac.testing.worker import TestWorker
from celeriac.torture.servers.service import wait_until

OFTEN_S = 0.02


class Place:
    """An app with everything in memory, whose time a test moves, and its worker."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.app = Celeriac("sweeping", broker="memory://", backend="memory://", result_chord_sweep_every_s=OFTEN_S)
        self.clock.install(self.app)


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.app.close()


def open_chords(app: Celeriac, *names: str, size: int = 3) -> None:
    with closing(app.backend.reader()) as reader:
        reader.open_chords([ChordOpening(name, size, None) for name in names])


def join(app: Celeriac, name: str, count: int) -> None:
    async def scenario() -> None:
        writer = app.backend.writer()
        await writer.join([Part(name, f"{name}-{index}", index, b"") for index in range(count)])
        await writer.close()

    asyncio.run(scenario())


def named(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "workflow" in record.getMessage()]


def wait_for(caplog: pytest.LogCaptureFixture, text: str) -> None:
    wait_until(lambda: any(text in message for message in named(caplog)), f"{text!r} in the log")


def test_what_is_stuck_is_named_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "celeriac.worker")
    app, clock = place.app, place.clock
    open_chords(app, "slow", "never-begun", "active")
    join(app, "slow", 1)
    with TestWorker(app):
        clock.advance(3600)
        join(app, "active", 1)
        clock.advance(1)
        wait_for(caplog, "never-begun")
        assert sorted(named(caplog)) == [
            "workflow never-begun is stuck: 0 of 3 parts are in, no progress for 3601 s; see: celeriac workflows",
            "workflow slow is stuck: 1 of 3 parts are in, no progress for 3601 s; see: celeriac workflows",
        ]
        join(app, "slow", 2)
        clock.advance(1)
        open_chords(app, "third")
        clock.advance(3601)
        wait_for(caplog, "third")  # so it has looked again
        counts = {name: sum(name in message for message in named(caplog)) for name in ("never-begun", "slow", "active")}
        assert counts == {"never-begun": 1, "slow": 2, "active": 1}, "again only what went on and is stuck once more"


def test_a_chord_that_nobody_finishes_is_named_after_a_minute(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "celeriac.worker")
    app, clock = place.app, place.clock
    open_chords(app, "finished", "unfinished", "waiting")
    with closing(app.backend.reader()) as reader:
        for name in ("finished", "unfinished"):
            join(app, name, 3)
        reader.close_chords(["finished"])
    join(app, "early", 2)
    with TestWorker(app):
        clock.advance(61)
        wait_for(caplog, "unfinished")
        assert named(caplog) == [
            "workflow unfinished is stuck: all 3 parts are in, and its body was not sent, no progress for 61 s;"
            " see: celeriac workflows"
        ]
        clock.advance(3600)
        wait_for(caplog, "workflow early is stuck: 2 parts are in, and how many there will be was never said")


def test_a_backend_that_is_away_is_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "celeriac.worker")
    in_the_way = tmp_path / "results"
    in_the_way.write_text("")
    app = Celeriac(
        "sweeping",
        broker=f"sqlite:///{tmp_path}/broker.db",
        backend=f"sqlite:///{tmp_path}/results/results.db",
        result_chord_sweep_every_s=OFTEN_S,
        result_chord_stuck_after_s=OFTEN_S,
    )
    with TestWorker(app):
        wait_for(caplog, "can't look for stuck workflows now")
        in_the_way.unlink()
        open_chords(app, "stuck")
        wait_for(caplog, "workflow stuck is stuck")
    app.close()


def test_a_stuck_chord_is_named_and_goes_on_when_its_queue_has_a_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "celeriac.worker")
    app = Celeriac(
        "sweeping",
        broker=f"sqlite:///{tmp_path}/broker.db",
        result_chord_sweep_every_s=OFTEN_S,
        result_chord_stuck_after_s=0.3,
    )

    @app.task(name="double")
    def double(x: int) -> int:
        return 2 * x

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    with TestWorker(app):
        result = chord([double.s(1), double.s(2).set(queue="gpu"), double.s(3)], total.s()).delay()
        assert result.parent is not None
        wait_for(caplog, f"workflow {result.parent.id} is stuck: 2 of 3 parts are in")
        with TestWorker(app, queues=["gpu"]):
            assert result.get(timeout=30) == 12
        assert app._reader.chords() == []
    app.close()


def test_many_are_named_and_counted(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "celeriac.worker")
    app, clock = place.app, place.clock
    open_chords(app, *(f"chord-{number}" for number in range(300)))
    with TestWorker(app):
        clock.advance(3601)
        wait_for(caplog, "250 workflows or more are stuck; see: celeriac workflows --stuck")
        assert len(named(caplog)) == 251
