"""The same program with Taskiq's broker for Redis streams, whose messages are acknowledged."""

from __future__ import annotations

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from celeriac.torture.orders import QUEUE
from celeriac.torture.systems import deeds
from celeriac.torture.systems.taskiq_sending import Sender, with_tasks

IDLE_TIMEOUT_MS = 10_000
"""What is not acknowledged for so long belongs to anybody; ten minutes by default."""

broker = with_tasks(
    RedisStreamBroker(deeds.BROKER_URL, queue_name=QUEUE, idle_timeout=IDLE_TIMEOUT_MS).with_result_backend(
        RedisAsyncResultBackend(deeds.BACKEND_URL)
    )
)
send = Sender(broker)
