"""Dramatiq: late acknowledgement is its only way; results and group callbacks need a Redis, on RabbitMQ, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as RedisCounters
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench import deeds
from bench.client import FETCH_S, Client
from bench.place import BACKEND_URL, BROKER_URL, ON_REDIS, OPTIONS, QUEUE

broker: dramatiq.Broker = RedisBroker(url=BROKER_URL) if ON_REDIS else RabbitmqBroker(url=BROKER_URL, **OPTIONS)
broker.add_middleware(Results(backend=RedisBackend(url=BACKEND_URL)))
broker.add_middleware(GroupCallbacks(RedisCounters(url=BACKEND_URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(actor_name="end", queue_name=QUEUE)
def end(count: int, sent_at: float) -> None:
    """Be called back by a group."""
    deeds.collect(range(count), count, sent_at)  # a group's callback is not given the results


ACTORS: dict[str, Any] = {
    "noop": dramatiq.actor(deeds.noop, actor_name="noop", queue_name=QUEUE),
    "answer": dramatiq.actor(deeds.answer, actor_name="answer", queue_name=QUEUE, store_results=True),
    "carry": dramatiq.actor(deeds.carry, actor_name="carry", queue_name=QUEUE),
    "io": dramatiq.actor(deeds.io, actor_name="io", queue_name=QUEUE),
}


class DramatiqClient(Client):
    """A program with Dramatiq."""

    def send(self, task: str, *arguments: Any) -> Any:
        """Send with `send`."""
        return ACTORS[task].send(*arguments)

    def send_later(self, delay_s: float, task: str, *arguments: Any) -> None:
        """Send with a delay."""
        ACTORS[task].send_with_options(args=arguments, delay=int(delay_s * 1000))

    def values(self, handles: Sequence[Any]) -> list[Any]:
        """Fetch with `get_result`."""
        return [handle.get_result(block=True, timeout=int(FETCH_S * 1000)) for handle in handles]

    def send_chord(self, count: int, sent_at: float) -> None:
        """Run a group with a callback."""
        group = dramatiq.group(ACTORS["answer"].message(number) for number in range(count))
        group.add_completion_callback(end.message(count, sent_at))
        group.run()

    def close(self) -> None:
        """Close all connections."""
        broker.close()


def make_client() -> Client:
    """Return the client."""
    return DramatiqClient()
