"""A queue in the middle of a move: both sides send to it, and workers of both sides work on it."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import closing

import redis

from celeriac.torture.servers.service import wait_until
from tests.interop.harness import Place
from tests.services import PrivateRabbit, PrivateRedis

QUEUE = "shared"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
COUNT = 300
NAP_S = 0.005
"""So that neither worker is done before the other has begun."""


def test_every_task_is_done_once_whoever_sent_it(place: Place) -> None:
    workers = [place.our_worker(QUEUE, "-c", "1"), place.celery_worker(QUEUE)]
    producer = place.celery_producer(QUEUE)
    app = place.our_app(QUEUE)
    theirs = [f"theirs-{number}" for number in range(COUNT)]
    ours = [f"ours-{number}" for number in range(COUNT)]

    async def send_and_fetch() -> list[str]:
        asked = asyncio.create_task(
            asyncio.to_thread(producer.run_many, "note_where", [{"key": key, "nap_s": NAP_S} for key in theirs])
        )
        results = await asyncio.gather(*(app.tasks["shop.note_where"].adelay(key, NAP_S) for key in ours))
        values = await asyncio.gather(*(result.aget(timeout=60) for result in results))
        return [*await asked, *values]

    assert asyncio.run(send_and_fetch()) == [*theirs, *ours]
    lines = [line for line in place.journal.of("end") if line.key.startswith(("theirs-", "ours-"))]
    assert Counter(line.key for line in lines) == Counter([*theirs, *ours])
    by_worker = Counter((line.more["worker"], line.key.partition("-")[0]) for line in lines)
    assert len(by_worker) == 4, f"each worker has tasks of each sender: {by_worker}"

    wait_until(lambda: not place.depth(QUEUE).claimed, "all are settled")
    place.check_empty(QUEUE)
    for worker in workers:
        worker.stop()
    app.close()
    _check_nothing_left(place)


def _check_nothing_left(place: Place) -> None:
    """See with the server's own eyes that no message stands anywhere, but for what tests before have parked on purpose."""
    if isinstance(place.server, PrivateRedis):
        with closing(redis.Redis.from_url(place.broker_url, decode_responses=True)) as client:
            names = {str(name) for pattern in (f"*{QUEUE}*", "unacked*") for name in client.keys(pattern)}
        # Bindings say which queues there are; they hold no message.
        assert {name for name in names if not name.startswith("_kombu.binding")} == set()
    else:
        # RabbitMQ counts what is in a quorum queue every five seconds.
        wait_until(lambda: _counts(place) == {}, "all queues are empty")


def _counts(place: Place) -> dict[str, int]:
    """Return the queues that are not empty, as RabbitMQ tells it.

    Not looked at: what was parked, the stream of revocations, queues of replies (their names are UUIDs), where results wait that
    programs of other tests did not ask for, and what other tests have delayed for an hour.
    """
    assert isinstance(place.server, PrivateRabbit)
    vhost = place.broker_url.rpartition("/")[2]
    counts = place.server.queue_lengths(vhost)
    elsewhere = (".dead", "celeriac.revoked")
    ours = (name for name in counts if not name.endswith(elsewhere) and not name.startswith("celery_delayed_"))
    return {name: counts[name] for name in ours if counts[name] and not UUID.fullmatch(name)}
