"""A task that fails or asks for it runs again, as often as it may and not sooner than it should."""

from __future__ import annotations

from itertools import pairwise

import pytest

from celeriac.exceptions import MaxRetriesExceededError
from celeriac.torture.journal import END, START
from tests.e2e.app import OutOfStock
from tests.e2e.harness import DEADLINE_S, Scene


def test_automatic_retries_until_it_succeeds(shared_scene: Scene) -> None:
    scene = shared_scene
    keys = scene.keys("flaky", 10)
    results = scene.send_all("flaky", [(key, 2) for key in keys])
    assert [result.get(timeout=DEADLINE_S) for result in results] == [2] * 10
    for key in keys:
        assert [line.more["retries"] for line in scene.journal.of(START, key)] == [0, 1, 2]
        assert scene.journal.ends(key) == 1


def test_automatic_retries_end_at_the_limit(shared_scene: Scene) -> None:
    scene, key = shared_scene, shared_scene.key("flaky")
    errback = scene.signature("collect_id", key=scene.key("errback"))
    result = scene.send("flaky", key, 100, link_error=errback)
    with pytest.raises(ConnectionError, match="try 3"):
        result.get(timeout=DEADLINE_S)
    scene.until(lambda: scene.journal.of("collected"), "the errback has run")
    assert scene.journal.starts(key) == 4
    assert [line.more["args"] for line in scene.journal.of("collected")] == [[result.id]]


def test_retries_by_the_task_with_other_arguments(shared_scene: Scene) -> None:
    scene, key = shared_scene, shared_scene.key("down")
    callback = scene.signature("collect", key=scene.key("callback"))
    result = scene.send("counts_down", key, 3, 0.1, link=callback)
    assert result.get(timeout=DEADLINE_S) == "down after 3"
    runs = scene.journal.of(START, key)
    assert [run.more["number"] for run in runs] == [3, 2, 1, 0]
    for before, after in pairwise(runs):
        assert after.at - before.at >= 0.1  # a countdown is never cut short
    scene.until(lambda: scene.journal.of("collected"), "the callback has run")
    scene.until_empty()
    assert len(scene.journal.of("collected")) == 1  # retries carry it along; only the end calls it


@pytest.mark.parametrize(("with_cause", "error"), [(True, OutOfStock), (False, MaxRetriesExceededError)])
def test_retries_by_the_task_end_at_the_limit(shared_scene: Scene, with_cause: bool, error: type[Exception]) -> None:
    key = shared_scene.key("never-happy")
    result = shared_scene.send("never_happy", key, with_cause)
    with pytest.raises(error):
        result.get(timeout=DEADLINE_S)
    assert shared_scene.journal.starts(key) == 3


def test_a_waiting_retry_survives_its_worker(scene: Scene) -> None:
    worker = scene.worker("-c", "1")
    key = scene.key("down")
    result = scene.send("counts_down", key, 1, 1.0)
    scene.until(lambda: result.state == "RETRY", "the first run has asked for another")
    # On RabbitMQ the state is there a moment before the acknowledgement: a worker killed then begins again.
    scene.until(scene.acknowledged, "the first run is acknowledged")
    worker.kill()
    scene.worker("-c", "1")
    assert result.get(timeout=DEADLINE_S) == "down after 1"
    assert (scene.journal.starts(key), len(scene.journal.of(END, key))) == (2, 1)
