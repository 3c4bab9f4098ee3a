"""From what RabbitMQ delivers to a claimed message."""

from __future__ import annotations

from typing import Any, Final

from celeriac.brokers.amqp.outgoing import BROKERS_HEADERS
from celeriac.core.message import Delivery, Message
from celeriac.transports.amqp import delay
from celeriac.transports.amqp.protocol.errors import CodecError
from celeriac.transports.amqp.protocol.events import Delivered
from celeriac.transports.amqp.protocol.properties import decode_properties

DELIVERY_COUNT: Final = "x-delivery-count"


def to_message(event: Delivered, queue: str) -> tuple[Message, int]:
    """Return the message, and how often a quorum queue had handed it out before.

    Raises `CodecError` for properties that cannot be read.
    """
    values = decode_properties(event.properties)
    headers: dict[str, Any] = values.pop("headers", {})
    count = 0
    if not BROKERS_HEADERS.isdisjoint(headers):
        found = headers.get(DELIVERY_COUNT)
        count = found if isinstance(found, int) and found > 0 else 0
        for name in BROKERS_HEADERS.intersection(headers):
            del headers[name]
    waited = event.exchange == delay.DELIVERY_EXCHANGE
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
    return message, count


def to_delivery(event: Delivered, queue: str, tag: tuple[int, int]) -> Delivery:
    """Return the delivery; one whose properties cannot be read has no message but a `problem`."""
    try:
        message, count = to_message(event, queue)
    except CodecError as error:
        return Delivery(tag, queue, None, f"its AMQP properties cannot be read: {error}", event.body)
    return Delivery(tag, queue, message, losses=count)


def delivery_count(event: Delivered) -> int:
    """Return how often a quorum queue had handed the message out before; 0 where it cannot be told."""
    if b"x-delivery-count" not in event.properties:
        return 0
    try:
        found = decode_properties(event.properties).get("headers", {}).get(DELIVERY_COUNT)
    except CodecError:
        return 0
    return found if isinstance(found, int) else 0
