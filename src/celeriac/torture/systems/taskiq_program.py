"""The program that Taskiq's workers and producers run under torture: a broker, a backend, and everything else at its default."""

from __future__ import annotations

from taskiq import AsyncBroker
from taskiq_aio_pika import AioPikaBroker
from taskiq_aio_pika.queue import Queue
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from celeriac.torture.orders import QUEUE
from celeriac.torture.systems import deeds
from celeriac.torture.systems.taskiq_sending import Sender, with_tasks


def _broker() -> AsyncBroker:
    if deeds.ON_REDIS:
        return ListQueueBroker(deeds.BROKER_URL, queue_name=QUEUE)
    return AioPikaBroker(deeds.BROKER_URL, task_queues=[Queue(name=QUEUE)])


broker = with_tasks(_broker().with_result_backend(RedisAsyncResultBackend(deeds.BACKEND_URL)))
send = Sender(broker)
