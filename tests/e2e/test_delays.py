"""What is to run later waits in the broker: it never comes early, and no worker can lose it."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from celeriac.exceptions import TaskRevokedError
from celeriac.torture.journal import END, START
from tests.e2e.harness import DEADLINE_S, Scene


def test_countdown_and_eta_are_never_early(shared_scene: Scene) -> None:
    scene = shared_scene
    etas: dict[str, float] = {}
    for number in range(40):
        key = scene.key(f"later-{number}")
        delay_s = 0.2 + number % 10 * 0.15
        # A time on another continent is the same moment.
        if number % 2:
            eta = datetime.now(UTC) + timedelta(seconds=delay_s)
            scene.send("about", key, eta=eta)
            etas[key] = eta.timestamp()
        else:
            etas[key] = time.time() + delay_s
            scene.send("about", key, countdown=delay_s)
    scene.until_done(etas)
    scene.until_empty()
    assert scene.journal.extra_runs() == 0
    early = {line.key: etas[line.key] - line.at for line in scene.journal.of(END) if line.at < etas[line.key]}
    assert not early


def test_a_delayed_task_holds_up_nobody(scene: Scene) -> None:
    worker = scene.worker("-c", "1")
    scene.send("work", scene.key("later"), countdown=60)
    scene.send("work", scene.key("now"))
    scene.until_done([scene.key("now")])
    assert worker.terminate() == 0
    assert scene.journal.starts(scene.key("later")) == 0
    depth = scene.depth()
    assert not depth.ready
    assert depth.delayed in (1, None)  # RabbitMQ can not tell


def test_a_killed_worker_loses_no_delayed_task(scene: Scene) -> None:
    worker = scene.worker()
    keys = scene.keys("later", 100)
    eta = time.time() + 2.5
    scene.send_all("work", [(key,) for key in keys], eta=datetime.fromtimestamp(eta, UTC))
    scene.send("work", scene.key("now"))
    scene.until_done([scene.key("now")])  # the worker has looked at the queue
    worker.kill()
    begun = {line.key for line in scene.journal.of(START)}  # only where it took longer than their delay to come so far
    scene.worker()
    scene.until_done(keys)
    scene.until_empty()
    ends = [line for line in scene.journal.of(END) if line.key in keys]
    assert {key for key, count in Counter(line.key for line in ends).items() if count > 1} <= begun
    assert min(line.at for line in ends) >= eta


def test_an_expired_task_does_not_run(scene: Scene) -> None:
    expired = scene.send("work", scene.key("expired"), expires=0.05)
    moment = time.time() + 0.06
    scene.until(lambda: time.time() > moment, "it has expired")
    in_time = scene.send("work", scene.key("in-time"), expires=600)
    scene.worker("-c", "1")
    assert in_time.get(timeout=DEADLINE_S)
    scene.until_empty()
    assert scene.journal.starts(scene.key("expired")) == 0
    if expired.state != "PENDING":  # a broker may drop it by itself; who says something says this
        with pytest.raises(TaskRevokedError, match="expired"):
            expired.get(timeout=DEADLINE_S)


def test_a_task_that_expires_before_its_time_does_not_run(scene: Scene) -> None:
    scene.worker("-c", "1")
    result = scene.send("work", scene.key("never"), countdown=0.5, expires=0.2)
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=DEADLINE_S)
    scene.until_empty()
    assert scene.journal.starts(scene.key("never")) == 0
