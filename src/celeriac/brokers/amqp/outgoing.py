"""From a message to what is published: properties, headers, and where it waits."""

from __future__ import annotations

from typing import Any, Final

from celeriac.core.headers import with_escaped_texts
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
    # What an exchange has to route goes there at once, to be refused if there is no queue; who claims it brings it into the
    # delay of that queue.
    may_wait = message.not_before is not None and bool(message.queue)
    wait_s = delay.seconds(message.not_before - now) if may_wait and message.not_before is not None else 0
    if wait_s or message.headers.get("expires"):
        # RabbitMQ would drop the message without a word, and who waits for its end, a chord or a caller, would wait for ever.  The
        # header says the same to whoever claims it.
        values.pop("expiration", None)
    try:
        properties = _encode(values)
        if wait_s:
            key = delay.routing_key(wait_s, message.queue)
            return Publish(delay.FIRST_EXCHANGE, key, properties, message.body, message.queue, delayed=True)
        if message.queue:  # to this queue and no other, whatever way it had come
            return Publish("", message.queue, properties, message.body, message.queue)
        return Publish(message.exchange, message.routing_key or "", properties, message.body, "")
    except CodecError as error:
        raise EncodeError(f"a message for queue {message.queue!r} cannot be sent over AMQP: {error}") from None


def _encode(values: dict[str, Any]) -> bytes:
    try:
        return encode_properties(values)
    except CodecError:
        return encode_properties({**values, "headers": with_escaped_texts(values["headers"])})
