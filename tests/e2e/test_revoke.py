"""What was revoked does not run, whether a worker knew of it, starts later, or runs it already."""

from __future__ import annotations

import pytest

from celeriac.exceptions import TaskRevokedError
from tests.e2e.harness import DEADLINE_S, Scene


def test_revoked_before_any_worker_is_there(scene: Scene) -> None:
    revoked = scene.send("work", scene.key("revoked"))
    revoked.revoke()
    kept = scene.send("work", scene.key("kept"))
    scene.worker("-c", "1")
    assert kept.get(timeout=DEADLINE_S)
    with pytest.raises(TaskRevokedError, match="revoked"):
        revoked.get(timeout=DEADLINE_S)
    scene.until_empty()
    assert scene.journal.starts(scene.key("revoked")) == 0


def test_revoked_while_it_is_delayed(scene: Scene) -> None:
    scene.worker("-c", "1")
    revoked = scene.send("work", scene.key("revoked"), countdown=1.5)
    revoked.revoke()
    with pytest.raises(TaskRevokedError, match="revoked"):
        revoked.get(timeout=DEADLINE_S)
    scene.until_empty()
    assert scene.journal.starts(scene.key("revoked")) == 0


@pytest.mark.parametrize("task", ["held", "held_in_thread", "held_async"])
def test_terminated_while_it_runs(scene: Scene, task: str) -> None:
    scene.worker("-c", "1", "--threads", "4", "--async", "4")
    gate = scene.gate()
    running, neighbour = scene.key("running"), scene.key("neighbour")
    result = scene.send(task, running, gate.path)
    scene.until_started(running)
    beside = scene.send("held_in_thread" if task == "held" else task, neighbour, gate.path)
    scene.until_started(neighbour)
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=DEADLINE_S)
    gate.open()
    assert beside.get(timeout=DEADLINE_S) == neighbour
    scene.until_empty()
    assert (scene.journal.starts(running), scene.journal.ends(running)) == (1, 0)


def test_revoking_a_running_task_lets_it_end(scene: Scene) -> None:
    scene.worker("-c", "2")
    gate, key = scene.gate(), scene.key("running")
    running = scene.send("held", key, gate.path)
    scene.until_started(key)
    running.revoke()
    later = scene.send("work", scene.key("later"), countdown=1.5)
    later.revoke()
    with pytest.raises(TaskRevokedError):
        later.get(timeout=DEADLINE_S)  # so the worker has heard of both
    gate.open()
    assert running.get(timeout=DEADLINE_S) == key


def test_many_revoked_in_one_process(scene: Scene) -> None:
    scene.worker("-c", "1", "--threads", "2", "--async", "10")
    gate, keys, kept = scene.gate(), scene.keys("running", 6), scene.key("kept")
    results = scene.send_all("held_async", [(key, gate.path) for key in keys])
    beside = scene.send("held_async", kept, gate.path)
    scene.until_started(*keys, kept)
    scene.app.control.terminate([result.id for result in results])
    for result in results:
        with pytest.raises(TaskRevokedError, match="terminated"):
            result.get(timeout=DEADLINE_S)
    gate.open()
    assert beside.get(timeout=DEADLINE_S) == kept
    scene.until_empty()
    assert [(scene.journal.starts(key), scene.journal.ends(key)) for key in keys] == [(1, 0)] * 6
