"""The program that Dramatiq's workers and producers run under torture: a broker, and everything else at its default."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from celeriac.torture.orders import QUEUE, Order
from celeriac.torture.systems import deeds

RABBIT_URL = deeds.BROKER_URL.removesuffix("//") + "/%2F"
"""As pika writes the vhost `/`."""

broker = RedisBroker(url=deeds.BROKER_URL) if deeds.ON_REDIS else RabbitmqBroker(url=RABBIT_URL)
dramatiq.set_broker(broker)
ACTORS = {
    "work": dramatiq.actor(deeds.work, actor_name="work", queue_name=QUEUE),
    "poison": dramatiq.actor(deeds.poison, actor_name="poison", queue_name=QUEUE),
}


def send(key: str, order: Order) -> None:
    """Send one task; raises what `send_with_options` raises."""
    delay_ms = None if order.countdown_s is None else round(order.countdown_s * 1000)
    ACTORS[order.task].send_with_options(args=(key, order.seconds), kwargs=order.arguments, delay=delay_ms)
