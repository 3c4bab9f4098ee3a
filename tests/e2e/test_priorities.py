"""On the memory broker, in one process: priorities in one direction, broadcasts, and exchanges; the others are in test_routing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac import Celeriac
from celeriac.torture.journal import END, START, Journal
from celeriac.torture.servers.service import wait_until
from celeriac.worker.worker import EmbeddedWorker
from tests.e2e import app as program
from tests.e2e import routing_app
from tests.e2e.harness import DEADLINE_S


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    """The routing program in this process, with a worker of one slot beside it."""
    monkeypatch.setenv("CELERIAC_BROKER_URL", "memory://")
    monkeypatch.setenv("CELERIAC_RESULT_BACKEND", "memory://")
    monkeypatch.setenv(program.JOURNAL_VARIABLE, str(tmp_path / "journal"))
    routing_app.app.close()
    with EmbeddedWorker(routing_app.app, concurrency=1):
        yield routing_app.app
    routing_app.app.close()


def test_the_memory_broker_has_the_same_direction(app: Celeriac, tmp_path: Path) -> None:
    seen = Journal(tmp_path / "journal", "")
    gate = tmp_path / "gate"
    app.send_task("routing.hold", ("held", str(gate)), queue="routing.urgent")
    wait_until(lambda: seen.starts("held"), "the slot is taken", deadline_s=DEADLINE_S)
    numbers = [0, 9, 3, 6, 9]
    keys = {f"p{place}-{number}": number for place, number in enumerate(numbers)}
    results = [
        app.send_task("routing.run", (key,), queue="routing.urgent", priority=number) for key, number in keys.items()
    ]
    gate.touch()
    for result in results:
        result.get(timeout=DEADLINE_S)
    ran = [line for line in seen.of(START) if line.key in keys]
    assert [line.key for line in ran] == sorted(keys, key=lambda key: -keys[key])
    assert [line.more["priority"] for line in ran] == sorted(numbers, reverse=True)


def test_exchanges_and_broadcasts_in_memory(app: Celeriac, tmp_path: Path) -> None:
    seen = Journal(tmp_path / "journal", "")
    app.send_task("routing.video", ("both",))
    app.send_task("routing.tell", ("told",))
    wait_until(lambda: len(seen.of(END)) == 3, "all have run", deadline_s=DEADLINE_S)
    assert sorted(line.more["queue"] for line in seen.of(END, "both")) == ["routing.log", "routing.video"]
    assert seen.ends("told") == 1
