"""Dead letters: a message as it was, with the reason in its headers, in the queue `<queue>.dead`."""

from __future__ import annotations

from typing import Any, Final

from celeriac.brokers.amqp.incoming import to_message
from celeriac.brokers.amqp.outgoing import BROKERS_HEADERS
from celeriac.core.headers import CRASHES, LOSSES
from celeriac.core.message import DeadLetter
from celeriac.transports.amqp.outbox import Publish
from celeriac.transports.amqp.protocol.codec import decode_table, encode_table, splice
from celeriac.transports.amqp.protocol.errors import CodecError
from celeriac.transports.amqp.protocol.events import Delivered
from celeriac.transports.amqp.protocol.properties import encode_properties, split_properties
from celeriac.transports.amqp.topology import DEAD_SUFFIX

REASON: Final = "x-celeriac-reason"
PARKED_AT: Final = "x-celeriac-parked-at"
QUEUE: Final = "x-celeriac-queue"
MESSAGE_ID: Final = "x-celeriac-message-id"
"""The message's own id, while that property is the dead letter's handle."""
MAX_REASON_BYTES: Final = 4096
_OURS: Final = frozenset({REASON, PARKED_AT, QUEUE, MESSAGE_ID})
_EMPTY: Final = encode_table({})


def dead_queue(queue: str) -> str:
    """Name the queue where a queue's dead letters are."""
    return queue + DEAD_SUFFIX


def _split(event: Delivered) -> tuple[dict[str, Any], bytes]:
    try:
        return split_properties(event.properties)
    except CodecError:
        return {}, _EMPTY  # bytes that nobody can read: the body at least is kept


def again(event: Delivered, queue: str) -> Publish:
    """Return the same message as one that was never handed out, for the queue it came from."""
    values, headers = _split(event)
    properties = encode_properties(values, splice(headers, BROKERS_HEADERS, {}))
    return Publish("", queue, properties, event.body, queue)


def park(event: Delivered, queue: str, reason: str, now: float, handle: str, expires_s: float) -> Publish:
    """Return a message for the dead-letter queue.

    handle: unique; becomes its message id.  now: Unix seconds.  expires_s: how long it is kept; it stands on the message and not
    on the queue, because a queue cannot be declared again when the setting has changed.
    """
    values, headers = _split(event)
    ours: dict[str, Any] = {REASON: _cut(reason), PARKED_AT: now, QUEUE: queue}
    if "message_id" in values:
        ours[MESSAGE_ID] = values["message_id"]
    values |= {"message_id": handle, "expiration": str(int(expires_s * 1000)), "delivery_mode": 2}
    name = dead_queue(queue)
    return Publish("", name, encode_properties(values, splice(headers, BROKERS_HEADERS, ours)), event.body, name)


def unpark(event: Delivered, queue: str) -> Publish:
    """Return a dead letter as the message it was, its counts of crashes and losses reset."""
    values, headers = _split(event)
    own_id = _headers(headers).get(MESSAGE_ID)
    values["message_id"] = own_id if isinstance(own_id, str) else None
    values["expiration"] = None  # the header `expires` says it, should the message have a time limit
    kept = splice(headers, BROKERS_HEADERS | _OURS | {CRASHES, LOSSES}, {})
    return Publish("", queue, encode_properties(values, kept), event.body, queue)


def handle(event: Delivered) -> str:
    """Return the handle of a dead letter."""
    found = _split(event)[0].get("message_id")
    return found if isinstance(found, str) else ""


def describe(event: Delivered, queue: str) -> DeadLetter:
    """Return a dead letter as people see it."""
    values, raw = _split(event)
    headers = _headers(raw)
    reason, parked_at = headers.get(REASON), headers.get(PARKED_AT)
    try:
        message, *_ = to_message(event, queue)
        for name in _OURS.intersection(message.headers):
            del message.headers[name]
        message.routing_key = None
    except CodecError:
        message = None
    return DeadLetter(
        id=values.get("message_id", ""),
        queue=queue,
        reason=reason if isinstance(reason, str) else "unknown: not parked by Celeriac",
        parked_at=parked_at if isinstance(parked_at, float) else 0.0,
        message=message,
        raw=event.body if message is None else b"",
    )


def _headers(raw: bytes) -> dict[str, Any]:
    try:
        return decode_table(raw)
    except CodecError:
        return {}


def _cut(reason: str) -> str:
    data = reason.encode("utf-8", "replace")
    return data[:MAX_REASON_BYTES].decode("utf-8", "ignore")
