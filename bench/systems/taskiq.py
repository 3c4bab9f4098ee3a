"""Taskiq: a list (a crash loses what was taken), a stream, or RabbitMQ with a quorum queue and confirms, as it makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from taskiq import AsyncBroker, TaskiqScheduler
from taskiq_aio_pika import AioPikaBroker
from taskiq_aio_pika.queue import Queue
from taskiq_redis import ListQueueBroker, ListRedisScheduleSource, RedisAsyncResultBackend, RedisStreamBroker

from bench import async_deeds, deeds
from bench.async_client import AsyncClient
from bench.client import FETCH_S, Client
from bench.place import BACKEND_URL, BROKER_URL, KIND, OPTIONS, QUEUE

PREFETCH = 100
CHECK_S = 0.01
"""How often a client looks for a result; 0.2 s by default."""


def _broker() -> AsyncBroker:
    match OPTIONS["broker"]:
        case "list":
            # With the timeout that redis-py 8 has by default, a worker with nothing to do would end every five seconds.
            return ListQueueBroker(BROKER_URL, queue_name=QUEUE, socket_timeout=None)
        case "stream":
            return RedisStreamBroker(BROKER_URL, queue_name=QUEUE)
    delayed = Queue(name=f"{QUEUE}.delayed")
    return AioPikaBroker(BROKER_URL, qos=PREFETCH, task_queues=[Queue(name=QUEUE)], delay_queue=delayed)


broker = _broker()
if KIND == "results":  # it would store one for every task
    broker = broker.with_result_backend(RedisAsyncResultBackend(BACKEND_URL, result_ex_time=3600))
noop = broker.register_task(async_deeds.noop, task_name="noop")
answer = broker.register_task(async_deeds.answer, task_name="answer")
carry = broker.register_task(async_deeds.carry, task_name="carry")
io = broker.register_task(deeds.io if KIND == "thread" else async_deeds.io, task_name="io")
TASKS: dict[str, Any] = {"noop": noop, "answer": answer, "carry": carry, "io": io}

source = ListRedisScheduleSource(BACKEND_URL)
scheduler = TaskiqScheduler(broker, [source])
"""A process of its own, which sends what was delayed, where the broker has no delays."""


class TaskiqClient(AsyncClient):
    """A program with Taskiq."""

    async def open(self) -> None:
        """Connect."""
        await broker.startup()
        await source.startup()

    async def asend(self, task: str, *arguments: Any) -> Any:
        """Send with `kiq`."""
        return await TASKS[task].kiq(*arguments)

    async def asend_later(self, delay_s: float, task: str, *arguments: Any) -> None:
        """Send with a label on RabbitMQ, else by the schedule source."""
        if OPTIONS["broker"] == "amqp":
            await TASKS[task].kicker().with_labels(delay=delay_s).kiq(*arguments)
        else:
            due = datetime.now(UTC) + timedelta(seconds=delay_s)
            await TASKS[task].schedule_by_time(source, due, *arguments)

    async def avalue(self, handle: Any) -> Any:
        """Fetch with `wait_result`."""
        return (await handle.wait_result(check_interval=CHECK_S, timeout=FETCH_S)).return_value

    async def aclose(self) -> None:
        """Close all connections."""
        await source.shutdown()
        await broker.shutdown()


def make_client() -> Client:
    """Return the client."""
    return TaskiqClient()
