"""The broker is killed and started again while everything is in use: no accepted send is lost, workers go on by themselves."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.exceptions import OperationalError
from tests.e2e.harness import DEADLINE_S, Guard, Place, Scene
from tests.services import PrivateRabbit

STREAM_SAFE_S = 6.0
"""A stream that is younger does not come back when RabbitMQ 3.10 is killed, and nothing tells when it is safe (docs/brokers/rabbitmq.md)."""


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.skip(reason="there is no server to restart")),
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ]
)
def own_scene(request: pytest.FixtureRequest, guard: Guard) -> Iterator[Scene]:
    """A scene with a server of its own, to be killed."""
    directory = Path(tempfile.mkdtemp(dir=guard.directory))
    server = request.getfixturevalue("own_redis" if request.param == "redis" else "own_rabbit")
    backend_url = server.url if request.param == "redis" else "rpc://"
    place = Place(request.param, server.url, backend_url, directory, server)
    scene = Scene(place, guard)
    yield scene
    scene.close()
    place.app.close()


class Sender:
    """Sends tasks one by one from a thread, and keeps account of those that the broker has accepted."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="sender")
        self.accepted: list[str] = []
        self.refused = 0

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        number = 0
        while not self._stop.wait(0.005):
            number += 1
            key = self._scene.key(f"sent-{number}")
            try:
                self._scene.send("work", key)
            except OperationalError:
                self.refused += 1  # or of unknown outcome: either is told
            else:
                self.accepted.append(key)


def done_or_delayed(scene: Scene, keys: list[str]) -> int:
    """How many of these tasks have run or wait in the broker.

    RabbitMQ hands on from one delay level to the next with confirms, and what found no queue while the node was starting it
    tries again after three minutes only: too long to wait for here.
    """
    done = len(keys) - len(scene.journal.missing(keys))
    server = scene.place.server
    if not isinstance(server, PrivateRabbit):
        return done
    lengths = server.queue_lengths("/")
    return done + sum(count for name, count in lengths.items() if name.startswith("celery_delayed_"))


def test_a_killed_broker_loses_no_accepted_send(own_scene: Scene) -> None:
    scene = own_scene
    assert scene.place.server is not None
    worker = scene.worker("-c", "2", "--threads", "2")
    if isinstance(scene.place.server, PrivateRabbit):
        time.sleep(STREAM_SAFE_S)
    gate, held = scene.gate(), scene.keys("held", 2)
    running = scene.send_all("held_in_thread", [(key, gate.path) for key in held])
    later = scene.keys("later", 20)
    scene.send_all("work", [(key,) for key in later], countdown=3)
    scene.until_started(*held)
    with Sender(scene) as sender:
        for _ in range(2):
            goal = len(sender.accepted) + 100
            scene.until(lambda goal=goal: len(sender.accepted) >= goal, "sends go through")  # type: ignore[misc]
            scene.place.server.kill()
            scene.place.server.start()
        goal = len(sender.accepted) + 100
        scene.until(lambda: len(sender.accepted) >= goal, "sends go through again")
    gate.open()
    scene.until_done([*sender.accepted, *held])
    scene.until(lambda: done_or_delayed(scene, later) == len(later), "no delayed task is lost")
    scene.until_empty()
    assert worker.process.poll() is None
    assert [scene.journal.ends(key) for key in held] == [1, 1]  # they ran on, and their end was settled afterwards
    if scene.place.stores_results:
        assert [result.get(timeout=DEADLINE_S) for result in running] == held
    assert scene.send("add", 1, 1).get(timeout=DEADLINE_S) == 2
    # Twice what was in the worker's hands (or between its end and its settlement) in that moment.
    assert scene.journal.extra_runs() <= 2 * 70
    assert worker.terminate() == 0


def test_a_frozen_broker_is_waited_for(own_scene: Scene) -> None:
    scene = own_scene
    server = scene.place.server
    assert server is not None
    worker = scene.worker("-c", "1")
    keys = scene.keys("work", 50)
    scene.send_all("work", [(key, 0.02) for key in keys])
    scene.until(lambda: len(scene.journal.of("end")) >= 10, "10 tasks are done")
    server.freeze()
    done = len(scene.journal.of("end"))
    scene.until(lambda: len(scene.journal.of("end")) >= min(done + 1, 50), "what was claimed goes on")
    server.thaw()
    scene.until_done(keys)
    scene.until_empty()
    assert worker.terminate() == 0
