"""A worker inside of the program, on the memory broker: the same tasks, without another process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac import Celeriac
from celeriac.exceptions import TaskRevokedError
from celeriac.torture import journal
from celeriac.torture.servers.service import wait_until
from celeriac.worker.worker import EmbeddedWorker
from tests.e2e import app as program
from tests.e2e.harness import DEADLINE_S, task_name


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    """The program's app in this process, with everything in memory, and a worker beside it."""
    monkeypatch.setenv("CELERIAC_BROKER_URL", "memory://")
    monkeypatch.setenv("CELERIAC_RESULT_BACKEND", "memory://")
    monkeypatch.setenv(program.JOURNAL_VARIABLE, str(tmp_path / "journal"))
    program.app.close()
    with EmbeddedWorker(program.app, concurrency=2, threads=2, async_concurrency=5):
        yield program.app
    program.app.close()


def test_results_of_every_kind(app: Celeriac) -> None:
    results = [
        app.send_task(task_name(task), (number, 1))
        for task in ("add", "add_in_thread", "add_async")
        for number in range(20)
    ]
    assert [result.get(timeout=DEADLINE_S) for result in results] == [number + 1 for number in range(20)] * 3
    with pytest.raises(program.OutOfStock):
        app.send_task(task_name("fail"), ("own",)).get(timeout=DEADLINE_S)


def test_retries_delays_and_links(app: Celeriac, tmp_path: Path) -> None:
    seen = journal.Journal(tmp_path / "journal", "")
    link = app.signature(task_name("collect"), kwargs={"key": "callback"})
    assert app.send_task(task_name("flaky"), ("flaky", 2), link=link).get(timeout=DEADLINE_S) == 2
    assert app.send_task(task_name("work"), ("later",), countdown=0.3).get(timeout=DEADLINE_S) == "later"
    wait_until(lambda: seen.of("collected"), "the callback has run")
    assert seen.starts("flaky") == 3


def test_soft_limits_and_revokes(app: Celeriac, tmp_path: Path) -> None:
    assert app.send_task(task_name("soft_async"), ("soft",)).get(timeout=DEADLINE_S) == "tidied up"
    assert app.send_task(task_name("soft_in_thread"), ("soft",)).get(timeout=DEADLINE_S) == "tidied up"
    revoked = app.send_task(task_name("work"), ("never",), countdown=1.2)
    revoked.revoke()
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=DEADLINE_S)
    assert journal.Journal(tmp_path / "journal", "").starts("never") == 0


def test_a_second_program_may_be_served_after_the_first(app: Celeriac) -> None:
    assert json.dumps(app.send_task(task_name("echo"), ([1],)).get(timeout=DEADLINE_S)) == "[1]"
