"""The requests we make, each as bytes with the answer it expects."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from celeriac.transports.amqp.protocol.codec import encode_table, long_string, read_short_string, short_string


def method_id(class_id: int, number: int) -> int:
    """Join the two numbers that name a method."""
    return class_id << 16 | number


CONNECTION_START: Final = method_id(10, 10)
CONNECTION_TUNE: Final = method_id(10, 30)
CONNECTION_OPEN_OK: Final = method_id(10, 41)
CONNECTION_CLOSE: Final = method_id(10, 50)
CONNECTION_CLOSE_OK: Final = method_id(10, 51)
CONNECTION_BLOCKED: Final = method_id(10, 60)
CONNECTION_UNBLOCKED: Final = method_id(10, 61)
CHANNEL_OPEN_OK: Final = method_id(20, 11)
CHANNEL_FLOW: Final = method_id(20, 20)
CHANNEL_CLOSE: Final = method_id(20, 40)
CHANNEL_CLOSE_OK: Final = method_id(20, 41)
EXCHANGE_DECLARE_OK: Final = method_id(40, 11)
EXCHANGE_BIND_OK: Final = method_id(40, 31)
QUEUE_DECLARE_OK: Final = method_id(50, 11)
QUEUE_BIND_OK: Final = method_id(50, 21)
QUEUE_PURGE_OK: Final = method_id(50, 31)
BASIC_QOS_OK: Final = method_id(60, 11)
BASIC_CONSUME_OK: Final = method_id(60, 21)
BASIC_CANCEL: Final = method_id(60, 30)
BASIC_CANCEL_OK: Final = method_id(60, 31)
BASIC_RETURN: Final = method_id(60, 50)
BASIC_DELIVER: Final = method_id(60, 60)
BASIC_GET_OK: Final = method_id(60, 71)
BASIC_GET_EMPTY: Final = method_id(60, 72)
BASIC_ACK: Final = method_id(60, 80)
BASIC_NACK: Final = method_id(60, 120)
CONFIRM_SELECT_OK: Final = method_id(85, 11)
TX_SELECT_OK: Final = method_id(90, 11)
TX_COMMIT_OK: Final = method_id(90, 21)
TX_ROLLBACK_OK: Final = method_id(90, 31)

ANSWERS: Final = frozenset(
    {
        CHANNEL_OPEN_OK, CHANNEL_CLOSE_OK, EXCHANGE_DECLARE_OK, EXCHANGE_BIND_OK, QUEUE_DECLARE_OK, QUEUE_BIND_OK,
        QUEUE_PURGE_OK, BASIC_QOS_OK, BASIC_CONSUME_OK, BASIC_CANCEL_OK, BASIC_GET_EMPTY,
        CONFIRM_SELECT_OK, TX_SELECT_OK,
    }
)  # fmt: skip


class Call(Struct, frozen=True):
    """A request that waits for its answer."""

    payload: bytes
    answers: tuple[int, ...]
    about: str
    """What is asked, in words, for errors."""


def _call(class_id: int, number: int, arguments: bytes, answer: int, about: str) -> Call:
    return Call(struct.pack(">HH", class_id, number) + arguments, (answer,), about)


# -- connection, without an answer of their own in our hands ----------------------------------------------------------


def connection_start_ok(client: Mapping[str, Any], user: str, password: str) -> bytes:
    """Log in by PLAIN."""
    response = f"\x00{user}\x00{password}".encode()
    return (
        b"\x00\x0a\x00\x0b"
        + encode_table(client)
        + short_string("PLAIN")
        + long_string(response)
        + short_string("en_US")
    )


def connection_tune_ok(channel_max: int, frame_max: int, heartbeat_s: int) -> bytes:
    """Agree on limits."""
    return b"\x00\x0a\x00\x1f" + struct.pack(">HIH", channel_max, frame_max, heartbeat_s)


def connection_open(vhost: str) -> bytes:
    """Enter a vhost."""
    return b"\x00\x0a\x00\x28" + short_string(vhost) + b"\x00\x00"


def close_payload(class_id: int, number: int, code: int, text: str) -> bytes:
    """connection.close and channel.close."""
    return struct.pack(">HHH", class_id, number, code) + short_string(text) + b"\x00\x00\x00\x00"


# -- channel ----------------------------------------------------------------------------------------------------------


def channel_open() -> Call:
    """Open the channel that this is sent on."""
    return _call(20, 10, b"\x00", CHANNEL_OPEN_OK, "open a channel")


def channel_close() -> Call:
    """Close the channel that this is sent on."""
    return Call(close_payload(20, 40, 200, ""), (CHANNEL_CLOSE_OK,), "close a channel")


def confirm_select() -> Call:
    """Ask for publisher confirms."""
    return _call(85, 10, b"\x00", CONFIRM_SELECT_OK, "switch publisher confirms on")


def tx_select() -> Call:
    """Make the channel a transaction: what is settled on it takes effect when it is committed."""
    return _call(90, 10, b"", TX_SELECT_OK, "begin a transaction")


def basic_qos(prefetch_count: int) -> Call:
    """Bound the unacknowledged deliveries of each consumer that comes after this."""
    return _call(60, 10, struct.pack(">IHB", 0, prefetch_count, 0), BASIC_QOS_OK, "set the prefetch window")


# -- topology ---------------------------------------------------------------------------------------------------------


def exchange_declare(
    exchange: str,
    kind: str,
    *,
    passive: bool = False,
    durable: bool = True,
    auto_delete: bool = False,
    arguments: Mapping[str, Any] | None = None,
) -> Call:
    """Create an exchange, or (passive) ask whether it exists."""
    data = b"\x00\x00" + short_string(exchange) + short_string(kind)
    data += bytes((passive | durable << 1 | auto_delete << 2,)) + encode_table(arguments or {})
    return _call(40, 10, data, EXCHANGE_DECLARE_OK, f"declare the exchange {exchange!r}")


def exchange_bind(destination: str, source: str, routing_key: str) -> Call:
    """Bind an exchange behind another."""
    arguments = b"\x00\x00" + short_string(destination) + short_string(source) + short_string(routing_key)
    return _call(
        40,
        30,
        arguments + b"\x00\x00\x00\x00\x00",
        EXCHANGE_BIND_OK,
        f"bind the exchange {destination!r} to {source!r}",
    )


def queue_declare(
    queue: str,
    *,
    passive: bool = False,
    durable: bool = True,
    exclusive: bool = False,
    auto_delete: bool = False,
    arguments: Mapping[str, Any] | None = None,
) -> Call:
    """Create a queue, or (passive) ask whether it exists."""
    flags = passive | durable << 1 | exclusive << 2 | auto_delete << 3
    data = b"\x00\x00" + short_string(queue) + bytes((flags,)) + encode_table(arguments or {})
    return _call(50, 10, data, QUEUE_DECLARE_OK, f"declare the queue {queue!r}")


def queue_bind(queue: str, exchange: str, routing_key: str) -> Call:
    """Bind a queue to an exchange."""
    data = b"\x00\x00" + short_string(queue) + short_string(exchange) + short_string(routing_key)
    return _call(
        50, 20, data + b"\x00\x00\x00\x00\x00", QUEUE_BIND_OK, f"bind the queue {queue!r} to the exchange {exchange!r}"
    )


def queue_purge(queue: str) -> Call:
    """Delete what is ready in a queue."""
    return _call(50, 30, b"\x00\x00" + short_string(queue) + b"\x00", QUEUE_PURGE_OK, f"purge the queue {queue!r}")


# -- messages ---------------------------------------------------------------------------------------------------------


def basic_consume(queue: str, tag: str, *, no_ack: bool = False, arguments: Mapping[str, Any] | None = None) -> Call:
    """Start a consumer."""
    data = b"\x00\x00" + short_string(queue) + short_string(tag) + bytes((no_ack << 1,)) + encode_table(arguments or {})
    return _call(60, 20, data, BASIC_CONSUME_OK, f"consume from the queue {queue!r}")


def basic_cancel(tag: str) -> Call:
    """Stop a consumer; what it has delivered stays delivered."""
    return _call(60, 30, short_string(tag) + b"\x00", BASIC_CANCEL_OK, f"cancel the consumer {tag!r}")


def basic_get(queue: str) -> Call:
    """Take one message, to be acknowledged. Answered by a `Delivered` or by get-empty."""
    data = struct.pack(">HHH", 60, 70, 0) + short_string(queue) + b"\x00"
    return Call(data, (BASIC_GET_OK, BASIC_GET_EMPTY), f"get from the queue {queue!r}")


def read_queue_declared(arguments: bytes) -> tuple[str, int, int]:
    """Read queue.declare-ok: name, ready messages, consumers."""
    queue, position = read_short_string(arguments, 0)
    messages, consumers = struct.unpack_from(">II", arguments, position)
    return queue, messages, consumers


def read_count(arguments: bytes) -> int:
    """Read queue.purge-ok and queue.delete-ok: how many messages there were."""
    count: int = struct.unpack_from(">I", arguments)[0]
    return count
