"""A connection is cut at every single command, or frame, of a worker or a producer in turn: nothing is lost for any of them."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import uuid
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import pytest

from celeriac import Celeriac
from celeriac.exceptions import BrokerUnavailable, PublishTimeout
from celeriac.torture.servers.service import wait_until
from celeriac.worker.worker import EmbeddedWorker
from tests.model.chores import Chores, Runs, make_app
from tests.model.cutter import Amqp, Cutter, Moment, Redis

EVERY: Final = os.environ.get("CUT_EVERY") == "1"
"""Cut at every single command, which takes minutes; else at every STRIDE-th, beginning at one that the seed chooses."""
STRIDE: Final = 1 if EVERY else 7
SEED: Final = int(os.environ.get("CUT_SEED", "0")) or random.randrange(1, 1_000_000)
DEADLINE_S: Final = 60.0
MOMENTS: Final[tuple[Moment, ...]] = ("before", "after")
MAY_FOLLOW: Final = 3
"""A message that was sent twice (its confirmation was lost) is one run more, and so is each of the steps that follow from it."""
WHOLE_ROUNDS: Final = 3
"""So many rounds in a row without a cut are taken for the end: a round may have some commands more or less than the one before."""
SETTINGS: Final = {"worker_lease_s": 10.0, "worker_heartbeat_s": 1.0}


class Scene:
    """A place to send to directly, and the way there through a cutter."""

    def __init__(
        self, cutter: Cutter, direct: tuple[str, str], cuttable: tuple[str, str], *, settles_in_one_step: bool
    ) -> None:
        self.cutter = cutter
        self.direct = direct
        self.cuttable = cuttable
        self.settles_in_one_step = settles_in_one_step
        """Result, follow-ups and acknowledgement are one command; else what was under way may be repeated."""
        self.runs = Runs()
        self.queue = f"cut-{uuid.uuid4().hex[:8]}"
        self._apps: list[Celeriac] = []

    def app(self, urls: tuple[str, str], **settings: float) -> Celeriac:
        """Return the program at one of the two."""
        app = make_app(*urls, self.queue, self.runs)
        app.conf.update({**SETTINGS, **settings})
        self._apps.append(app)
        return app

    @contextlib.contextmanager
    def worker(self, urls: tuple[str, str], **settings: float) -> Iterator[EmbeddedWorker]:
        """Have a worker run in this process."""
        with EmbeddedWorker(self.app(urls, **settings), concurrency=3) as worker:
            yield worker

    def close(self) -> None:
        """Close what was opened."""
        for app in self._apps:
            app.close()
        self.cutter.close()


def through(url: str, cutter: Cutter) -> str:
    """Return a URL with the cutter's port."""
    return url.replace(f":{urlsplit(url).port}", f":{cutter.port}")


def cutter_for(url: str) -> Cutter:
    """Return a cutter before a server."""
    port = urlsplit(url).port
    assert port is not None
    return Cutter("127.0.0.1", port, Redis() if url.startswith("redis") else Amqp())


@pytest.fixture
def redis_scene(redis_url: str) -> Iterator[Scene]:
    """Broker and results on one Redis."""
    cutter = cutter_for(redis_url)
    cuttable = through(redis_url, cutter)
    scene = Scene(cutter, (redis_url, redis_url), (cuttable, cuttable), settles_in_one_step=True)
    yield scene
    scene.close()


@pytest.fixture
def rabbit_scene(rabbit_url: str, redis_url: str) -> Iterator[Scene]:
    """RabbitMQ that is cut, and results in Redis, which is not."""
    cutter = cutter_for(rabbit_url)
    urls = (through(rabbit_url, cutter), redis_url)
    scene = Scene(cutter, (rabbit_url, redis_url), urls, settles_in_one_step=False)
    yield scene
    scene.close()


@pytest.fixture
def results_scene(rabbit_url: str, redis_url: str) -> Iterator[Scene]:
    """RabbitMQ, which is not cut, and results in Redis, which is."""
    cutter = cutter_for(redis_url)
    urls = (rabbit_url, through(redis_url, cutter))
    scene = Scene(cutter, (rabbit_url, redis_url), urls, settles_in_one_step=True)
    yield scene
    scene.close()


@pytest.fixture(params=["redis", "rabbitmq", "results"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """Each place in turn."""
    name = {"redis": "redis_scene", "rabbitmq": "rabbit_scene", "results": "results_scene"}[request.param]
    found: Scene = request.getfixturevalue(name)
    return found


def numbers(stride: int = STRIDE) -> Iterator[int]:
    """Return the numbers of the commands to cut at."""
    return itertools.count(1 + SEED % stride, stride)


def check_runs(scene: Scene, chores: Chores, where: str) -> None:
    """Fail if something ran more often than it may."""
    expected = chores.expected_runs()
    runs = {task_id: scene.runs.by_id[task_id] for task_id in expected}
    if scene.settles_in_one_step:
        assert runs == expected, f"{where}: something ran twice, though its worker lives and nothing was taken from it"
        return
    # What was being parked, or sent, at that very moment may have been so twice; nothing that was acknowledged runs again.
    again = {task_id: runs[task_id] - count for task_id, count in expected.items() if runs[task_id] != count}
    assert all(count == 1 for count in again.values()), f"{where}: {again}"
    assert len(again.keys() - {chores.refused.id}) <= MAY_FOLLOW, f"{where}: {again}"


def is_empty(app: Celeriac, queue: str) -> bool:
    """Tell whether nothing is left in a queue."""
    admin = app.broker.admin()
    try:
        (depth,) = admin.depths([queue])
    finally:
        admin.close()
    return not (depth.ready or depth.delayed or depth.claimed)


def test_a_worker_whose_connection_is_cut_at_its_nth_command(scene: Scene) -> None:
    client = scene.app(scene.direct)
    cuts = 0
    with scene.worker(scene.cuttable):
        for moment in MOMENTS:
            whole = 0
            for number in numbers():
                where = f"cut {moment} command {number} (CUT_SEED={SEED})"
                scene.cutter.arm(number, moment=moment)
                chores = Chores(client, early=True)
                chores.check(DEADLINE_S)
                wait_until(lambda: is_empty(client, scene.queue), f"the queue is empty, {where}", deadline_s=DEADLINE_S)
                check_runs(scene, chores, where)
                cuts += scene.cutter.has_cut
                whole = 0 if scene.cutter.has_cut else whole + 1
                if whole >= WHOLE_ROUNDS:
                    break
        scene.cutter.arm()
    assert cuts >= len(MOMENTS)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("place", ["redis", "rabbitmq"])
def test_a_worker_that_is_gone_from_its_nth_command_on(
    place: str, moment: Moment, request: pytest.FixtureRequest
) -> None:
    """Whatever it was doing: another worker does it, once its lease has run out or its connection is gone."""
    scene: Scene = request.getfixturevalue("redis_scene" if place == "redis" else "rabbit_scene")
    client = scene.app(scene.direct)
    lease = {"worker_lease_s": 1.0, "worker_heartbeat_s": 0.2}
    stride = 1 if EVERY else 5 * STRIDE
    whole = 0
    for number in numbers(stride):
        with scene.worker(scene.cuttable, **lease) as doomed:
            scene.cutter.arm(number, moment=moment, for_good=True)
            chores = Chores(client, early=False)
            where = f"gone {moment} command {number} (CUT_SEED={SEED})"
            with scene.worker(scene.direct, **lease):
                chores.check(DEADLINE_S)
                wait_until(lambda: is_empty(client, scene.queue), f"the queue is empty, {where}", deadline_s=DEADLINE_S)
            has_cut = scene.cutter.has_cut
            scene.cutter.arm()  # it comes back, and whatever it still says is of no effect
            doomed.stop(0)
        expected = chores.expected_runs()
        runs = {task_id: scene.runs.by_id[task_id] for task_id in expected}
        assert all(runs[one] >= expected[one] for one in expected), f"{where}: {runs}, not {expected}"
        whole = 0 if has_cut else whole + 1
        if whole >= WHOLE_ROUNDS:
            break


@pytest.mark.parametrize("place", ["redis", "rabbitmq"])
def test_a_producer_whose_connection_is_cut_at_its_nth_command(place: str, request: pytest.FixtureRequest) -> None:
    """What was accepted runs, what was refused for certain does not, and of the rest nobody claims to know."""
    scene: Scene = request.getfixturevalue("redis_scene" if place == "redis" else "rabbit_scene")
    delay_s = 0.05 if place == "redis" else None  # RabbitMQ delays by whole seconds
    stride = STRIDE if EVERY or place == "redis" else 3 * STRIDE
    reader = scene.app(scene.direct)
    sends = 6
    cuts = 0
    with scene.worker(scene.direct):
        for moment in MOMENTS:
            whole = 0
            for number in numbers(stride):
                where = f"cut {moment} command {number} (CUT_SEED={SEED})"
                producer = scene.app(scene.cuttable)  # a new one connects anew
                scene.cutter.arm(number, moment=moment)
                accepted, refused = [], []
                for count in range(sends):
                    task_id, countdown = str(uuid.uuid4()), delay_s if count % 3 == 2 else None
                    try:
                        producer.tasks["add"].apply_async((count, 1), task_id=task_id, countdown=countdown)
                    except PublishTimeout:
                        continue
                    except BrokerUnavailable:
                        refused.append(task_id)
                    else:
                        accepted.append(task_id)
                producer.close()
                cuts += scene.cutter.has_cut
                assert all(reader.AsyncResult(task_id).get(timeout=DEADLINE_S) for task_id in accepted), where
                wait_until(lambda: is_empty(reader, scene.queue), f"the queue is empty, {where}", deadline_s=DEADLINE_S)
                runs = [scene.runs.by_id[task_id] for task_id in accepted]
                assert all(1 <= count <= 2 for count in runs), f"{where}: {runs}"
                assert not any(scene.runs.by_id[task_id] for task_id in refused), f"{where}: a refused one ran"
                whole = 0 if scene.cutter.has_cut else whole + 1
                if whole >= WHOLE_ROUNDS:
                    break
    assert cuts >= len(MOMENTS)


def test_what_was_acknowledged_does_not_run_again_when_the_acknowledgement_is_lost(rabbit_scene: Scene) -> None:
    """RabbitMQ does not answer acknowledgements: those that were on their way are handed out again, to a worker that knows better."""
    client = rabbit_scene.app(rabbit_scene.direct)
    cutter = rabbit_scene.cutter
    with rabbit_scene.worker(rabbit_scene.cuttable):
        held = client.tasks["hold"].delay(1)
        wait_until(lambda: rabbit_scene.runs.by_id[held.id], "it runs", deadline_s=DEADLINE_S)
        cutter.swallow()
        rabbit_scene.runs.go_on.set()
        assert held.get(timeout=DEADLINE_S) == 1
        wait_until(lambda: cutter.swallowed, "the acknowledgement is under way", deadline_s=DEADLINE_S)
        cutter.cut()
        after = client.tasks["add"].delay(1, 1)
        assert after.get(timeout=DEADLINE_S) == 2
        wait_until(lambda: is_empty(client, rabbit_scene.queue), "the queue is empty", deadline_s=DEADLINE_S)
    assert rabbit_scene.runs.by_id == {held.id: 1, after.id: 1}
