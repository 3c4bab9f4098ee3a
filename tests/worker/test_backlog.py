"""A worker whose finished tasks can't be settled claims no more than it may hold, by count and by bytes, and loses none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.core.effects import Record
from celeriac.core.message import Message
from celeriac.core.workflow import Part
from celeriac.torture.servers.service import wait_until
from celeriac.worker.backlog import Backlog, held_bytes
from celeriac.worker.worker import EmbeddedWorker
from tests.services import PrivateRedis

DEADLINE_S = 60.0
TASKS = 300
RESULT_BYTES = 20_000


def test_what_a_finished_task_holds_is_its_body_and_what_follows() -> None:
    message = Message("q", {}, b"12345")
    record = Record("id", "SUCCESS", b"1234567", None)
    part = Part("group", "member", 0, b"123", None, b"1234")
    assert held_bytes(None, [], [], []) == 0
    assert held_bytes(message, [message, message], [record], [part]) == 5 + 2 * 5 + 7 + 3 + 4


@pytest.mark.parametrize(("count_max", "max_bytes"), [(3, 1_000), (100, 30)])
def test_there_is_room_again_as_soon_as_less_waits(count_max: int, max_bytes: int) -> None:
    backlog = Backlog(count_max, max_bytes)
    for _ in range(2):
        backlog.add(10)
    assert backlog.room.is_set()
    backlog.add(10)
    backlog.add(10)
    assert not backlog.room.is_set()
    backlog.remove([10])
    assert not backlog.room.is_set()
    backlog.remove([10])
    assert backlog.room.is_set()


@pytest.fixture(params=[True, False], ids=["late", "early"])
def app(request: pytest.FixtureRequest, redis_url: str, own_redis: PrivateRedis) -> Iterator[Celeriac]:
    """A program whose results are in a Redis of their own; `early`: acknowledged before it runs."""
    with Celeriac(
        "full",
        broker=redis_url,
        backend=own_redis.url,
        task_acks_late=request.param,
        worker_settle_buffer_max_bytes=10 * RESULT_BYTES,
    ) as app:
        yield app


def test_claiming_pauses_at_the_limit_of_bytes(app: Celeriac, own_redis: PrivateRedis, caplog: Any) -> None:
    ended: list[int] = []
    store_is_away = threading.Event()

    @app.task
    def long_answer(number: int) -> str:
        assert number == 0 or store_is_away.wait(DEADLINE_S)
        ended.append(number)
        return "x" * RESULT_BYTES

    def claimed_or_gone() -> int:
        return TASKS - admin.depths([queue])[0].ready

    queue = app.conf.task_default_queue
    with closing(app.broker.admin()) as admin:
        results = [long_answer.delay(number) for number in range(TASKS)]
        with EmbeddedWorker(app, threads=2):
            results[0].get(timeout=DEADLINE_S)
            own_redis.kill()
            store_is_away.set()
            wait_until(lambda: "no more is claimed" in caplog.text, "claiming pauses", deadline_s=DEADLINE_S)
            wait_until(lambda: len(ended) == claimed_or_gone(), "what is claimed has ended", deadline_s=DEADLINE_S)
            assert len(ended) < TASKS
            own_redis.start()
            answers = [result.get(timeout=DEADLINE_S) for result in results]
    assert {len(answer) for answer in answers} == {RESULT_BYTES}
    assert sorted(ended) == list(range(TASKS))
    assert "what waited to be settled is settled" in caplog.text
