"""Celery's senders reach our queues through exchanges, and ours reach Celery's; numbers of priorities are Celery's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import kombu
import pytest

from celeriac import Celeriac
from celeriac.core.message import Delivery
from celeriac.queues import Broadcast, Exchange, Queue
from celeriac.testing.broker_base import Worker, ids
from tests.interop.celery_app import make_app
from tests.interop.harness import Place


@pytest.fixture
def names() -> str:
    """A prefix of the test's own for queues and exchanges."""
    return uuid.uuid4().hex[:8]


@pytest.fixture
def ours(place: Place, names: str) -> Iterator[Celeriac]:
    """Our program, with a topic exchange and a broadcast."""
    media = Exchange(f"{names}-media", "topic")
    app = Celeriac(
        "interop",
        broker=place.broker_url,
        set_as_current=False,
        task_default_queue_type=place.queue_type,
        task_queues=[
            Queue(f"{names}-video", media, "video.#"),
            Queue(f"{names}-log", media, "#.hd"),
            Broadcast(f"{names}-all"),
        ],
    )
    yield app
    app.close()


def claim(app: Celeriac, names: list[str], count: int, meanwhile: object = None) -> list[Delivery]:
    """Claim so many messages with a consumer of ours; `meanwhile` is called once it listens."""
    import asyncio

    async def scenario() -> list[Delivery]:
        worker = Worker(app.broker.consumer(), f"interop@{uuid.uuid4().hex}", names, 30.0)
        await worker.open()
        try:
            if callable(meanwhile):
                await asyncio.to_thread(meanwhile)
            claimed = await worker.claim(count)
            assert not await worker.settle(claimed)
            return claimed
        finally:
            await worker.consumer.release()
            await worker.consumer.close()

    return asyncio.run(scenario())


def test_a_celery_sender_reaches_our_topic_queues(place: Place, ours: Celeriac, names: str) -> None:
    media = kombu.Exchange(f"{names}-media", "topic")
    arguments = {"x-queue-type": "quorum"} if place.queue_type == "quorum" else None
    theirs = make_app(
        broker_url=place.broker_url,
        task_queues=[kombu.Queue(f"{names}-video", media, "video.#", queue_arguments=arguments)],
    )
    queues = [f"{names}-video", f"{names}-log"]
    claimed = claim(ours, queues, 2, lambda: theirs.send_task("any", queue=f"{names}-video", routing_key="video.hd"))
    assert sorted(delivery.queue for delivery in claimed) == sorted(queues)
    assert len(set(ids(claimed))) == 1
    theirs.close()


def test_our_sender_reaches_celerys_topic_queues(place: Place, names: str) -> None:
    """The queues were declared by Celery; our program declares nothing but names the exchange's type."""
    media = kombu.Exchange(f"{names}-media", "topic")
    app = Celeriac("interop", broker=place.broker_url, set_as_current=False)
    with kombu.Connection(place.broker_url) as connection:
        channel = connection.channel()
        bound = [
            kombu.Queue(f"{names}-{name}", media, key)(channel) for name, key in (("video", "video.#"), ("log", "*.hd"))
        ]
        for queue in bound:
            queue.declare()
        result = app.send_task("any", exchange=f"{names}-media", exchange_type="topic", routing_key="video.hd")
        found = [queue.get(no_ack=True) for queue in bound]
        assert [message.headers["id"] for message in found if message is not None] == [result.id] * 2
        for queue in bound:
            queue.delete()
    app.close()


def test_celerys_broadcast_reaches_our_workers(place: Place, ours: Celeriac, names: str) -> None:
    """A Celery program that knows the queue as a Broadcast, and has not declared its exchange itself, as is usual."""
    theirs = make_app(
        broker_url=place.broker_url,
        task_queues=[kombu.common.Broadcast(f"{names}-all")],
        task_routes={"any": {"queue": f"{names}-all"}},
    )
    (delivery,) = claim(ours, [f"{names}-all"], 1, lambda: theirs.send_task("any"))
    assert delivery.message is not None
    assert delivery.message.task == "any"
    theirs.close()


def test_the_steps_of_priorities_are_celerys(place: Place, names: str) -> None:
    """9 is the most urgent for our callers; on Redis that is Celery's 0, and Celery's consumers take it first."""
    if place.name != "redis":
        pytest.skip("elsewhere the numbers are the same")
    app = Celeriac("interop", broker=place.broker_url, set_as_current=False)
    for number in (0, 9, 4):
        app.send_task(f"p{number}", queue=f"{names}-steps", priority=number)
    app.send_task("unset", queue=f"{names}-steps")
    with kombu.Connection(place.broker_url) as connection:
        queue = kombu.Queue(f"{names}-steps")(connection.channel())
        found = [queue.get(no_ack=True) for _ in range(4)]
    assert [message.headers["task"] for message in found] == ["p9", "unset", "p4", "p0"]
    assert [message.properties["priority"] for message in found] == [0, 0, 5, 9]
    app.close()
