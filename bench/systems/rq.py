"""RQ: with a process for each job as it comes (late acknowledgement), or without one (`simple`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from redis import Redis
from rq import Queue

from bench import deeds
from bench.client import FETCH_S, Client
from bench.place import BROKER_URL, QUEUE

REDIS_URL = BROKER_URL
"""What `rq --config` reads of this module."""
TASKS: dict[str, Any] = {"noop": deeds.noop, "answer": deeds.answer, "carry": deeds.carry, "io": deeds.io}
KEEP: dict[str, int] = {"noop": 0, "answer": 3600, "carry": 0, "io": 0}
"""Seconds that results are kept; 0 keeps nothing."""


def collect(count: int, sent_at: float) -> None:
    """Depend on all members; their results are not handed over."""
    deeds.collect(range(count), count, sent_at)


class RqClient(Client):
    """A program with RQ."""

    def __init__(self) -> None:
        self._redis = Redis.from_url(BROKER_URL)
        self._queue = Queue(QUEUE, connection=self._redis)

    def send(self, task: str, *arguments: Any) -> Any:
        """Send with `enqueue`."""
        return self._queue.enqueue(TASKS[task], *arguments, result_ttl=KEEP[task], description=task)

    def send_later(self, delay_s: float, task: str, *arguments: Any) -> None:
        """Send with `enqueue_in`."""
        self._queue.enqueue_in(timedelta(seconds=delay_s), TASKS[task], *arguments, result_ttl=KEEP[task])

    def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """Send with `enqueue_many`."""
        return list(self._queue.enqueue_many([self._prepared(task, arguments) for arguments in calls]))

    def values(self, handles: Sequence[Any]) -> list[Any]:
        """Fetch with `latest_result`."""
        return [handle.latest_result(timeout=int(FETCH_S)).return_value for handle in handles]

    def send_chord(self, count: int, sent_at: float) -> None:
        """Enqueue all members, and a job that depends on them."""
        members = self._queue.enqueue_many([self._prepared("answer", (number,)) for number in range(count)])
        self._queue.enqueue(collect, count, sent_at, depends_on=members, result_ttl=0)

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _prepared(self, task: str, arguments: Sequence[Any]) -> Any:
        return Queue.prepare_data(TASKS[task], tuple(arguments), result_ttl=KEEP[task], description=task)


def make_client() -> Client:
    """Return the client."""
    return RqClient()
