"""From a message to what is published: properties, headers, and where it waits."""

from __future__ import annotations

from typing import Any, Final

from celeriac.core.message import Message
from celeriac.exceptions import EncodeError
from celeriac.transports.amqp import delay
from celeriac.transports.amqp.outbox import Publish
from celeriac.transports.amqp.protocol.errors import CodecError
from celeriac.transports.amqp.protocol.properties import encode_properties

BROKERS_HEADERS: Final = frozenset(
    {
        "x-delivery-count",
        "x-acquired-count",
        "x-death",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
    }
)
"""Headers that RabbitMQ adds. Published again they would mislead it: it drops a message with an `x-death` of a delay level
that comes to this level a second time, as a loop."""


def to_publish(message: Message, now: float) -> Publish:
    """Return a message ready for the wire; `now` is Unix seconds.

    Raises `EncodeError` for headers or properties that AMQP cannot carry.
    """
    values: dict[str, Any] = message.properties | {
        "headers": message.headers,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
    }
    if values.get("delivery_mode") is None:
        values["delivery_mode"] = 2
    wait_s = delay.seconds(message.not_before - now) if message.not_before is not None else 0
    if wait_s:
        # It would end the wait early, not the message; the header `expires` says the same to whoever runs it.
        values.pop("expiration", None)
    try:
        properties = encode_properties(values)
        if wait_s:
            key = delay.routing_key(wait_s, message.queue)
            return Publish(delay.FIRST_EXCHANGE, key, properties, message.body, message.queue, delayed=True)
        key = (
            message.queue
            if message.routing_key is None or not message.exchange
            else delay.without_delay(message.routing_key)
        )
        return Publish(message.exchange, key, properties, message.body, message.queue)
    except CodecError as error:
        raise EncodeError(f"a message for queue {message.queue!r} cannot be sent over AMQP: {error}") from None
