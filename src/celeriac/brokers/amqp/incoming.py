"""From what RabbitMQ delivers to a claimed message."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from celeriac.brokers.amqp.outgoing import BROKERS_HEADERS
from celeriac.core.message import Delivery, Message
from celeriac.transports.amqp import delay
from celeriac.transports.amqp.protocol.errors import CodecError
from celeriac.transports.amqp.protocol.events import Delivered
from celeriac.transports.amqp.protocol.properties import decode_properties

DELIVERY_COUNT: Final = "x-delivery-count"
DEATHS: Final = "x-death"


def to_message(event: Delivered, queue: str) -> tuple[Message, int, float | None]:
    """Return the message, how often a quorum queue had handed it out before, and when its wait was over by the broker's clock.

    Raises `CodecError` for properties that cannot be read.
    """
    values = decode_properties(event.properties)
    headers: dict[str, Any] = values.pop("headers", {})
    count, kept_until = 0, None
    waited = event.exchange == delay.DELIVERY_EXCHANGE
    if not BROKERS_HEADERS.isdisjoint(headers):
        found = headers.get(DELIVERY_COUNT)
        count = found if isinstance(found, int) and found > 0 else 0
        kept_until = _last_death(headers.get(DEATHS)) if waited else None
        for name in BROKERS_HEADERS.intersection(headers):
            del headers[name]
    message = Message(
        queue,
        headers,
        event.body,
        values,
        values.pop("content_type", ""),
        values.pop("content_encoding", ""),
        "" if waited else event.exchange,
        delay.without_delay(event.routing_key) if waited else event.routing_key,
    )
    return message, count, kept_until


def _last_death(deaths: object) -> float | None:
    """Return when a message last left a queue because its time there was over, in Unix seconds."""
    if not isinstance(deaths, list):
        return None
    times = [death.get("time") for death in deaths if isinstance(death, dict) and death.get("reason") == "expired"]
    return max((time.timestamp() for time in times if isinstance(time, datetime)), default=None)


def to_delivery(event: Delivered, queue: str, tag: tuple[int, int]) -> Delivery:
    """Return the delivery; one whose properties cannot be read has no message but a `problem`."""
    try:
        message, count, kept_until = to_message(event, queue)
    except CodecError as error:
        return Delivery(tag, queue, None, f"its AMQP properties cannot be read: {error}", event.body)
    return Delivery(tag, queue, message, losses=count, redelivered=event.redelivered, kept_until=kept_until)


def delivery_count(event: Delivered) -> int:
    """Return how often a quorum queue had handed the message out before; 0 where it cannot be told."""
    if b"x-delivery-count" not in event.properties:
        return 0
    try:
        found = decode_properties(event.properties).get("headers", {}).get(DELIVERY_COUNT)
    except CodecError:
        return 0
    return found if isinstance(found, int) else 0
