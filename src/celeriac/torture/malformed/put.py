"""Puts a malformed message into a broker, by the plainest means that each has and unchecked by anything of ours."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Final

from celeriac.brokers.embedded import stored
from celeriac.core.message import Message
from celeriac.torture.malformed.case import Case, Raw
from celeriac.torture.malformed.envelopes import envelope
from celeriac.torture.places import RABBITMQ, REDIS
from celeriac.transports.amqp import address as amqp_address
from celeriac.transports.amqp.blocking import BlockingConnection as AmqpConnection
from celeriac.transports.amqp.outbox import Batch, Publish
from celeriac.transports.amqp.protocol.properties import encode_properties
from celeriac.transports.amqp.topology import Script, Send
from celeriac.transports.redis.address import parse_address
from celeriac.transports.redis.blocking import BlockingConnection as RedisConnection
from celeriac.transports.redis.protocol import pack_all, raise_errors
from celeriac.transports.sqlite.location import path_of

TIMEOUT_S: Final = 30.0
_AT_ONCE: Final = 255
_INSERT: Final = (
    "INSERT INTO messages (queue, state, priority, due, published_at, losses, payload) VALUES (?, 0, 0, 9e999, ?, 0, ?)"
)


def put(place: str, broker_url: str, queue: str, cases: Sequence[Case]) -> None:
    """Put them into a queue that exists, in this order; `place` is `redis`, `rabbitmq` or `sqlite`. Raises what the broker says."""
    if place == REDIS:
        put_redis(broker_url, queue, [envelope(one.raw, queue) if one.raw is not None else one.stored for one in cases])
    elif place == RABBITMQ:
        put_rabbitmq(broker_url, queue, [one.raw for one in cases if one.raw is not None])
    else:
        put_sqlite(broker_url, queue, [_row(one.raw, queue) if one.raw is not None else one.stored for one in cases])


def put_redis(url: str, queue: str, envelopes: Sequence[bytes]) -> None:
    """Push anything at all into a list."""
    deadline = time.monotonic() + TIMEOUT_S
    connection = RedisConnection(parse_address(url), deadline)
    try:
        raise_errors(connection.call(pack_all([["LPUSH", queue, one] for one in envelopes]), len(envelopes), deadline))
    finally:
        connection.close()


def put_rabbitmq(url: str, queue: str, messages: Sequence[Raw]) -> None:
    """Publish bytes and headers as they are, and wait until RabbitMQ has them."""
    publishes = []
    for raw in messages:
        values = {"delivery_mode": 2, **raw.properties, "headers": raw.headers}
        values |= {"content_type": raw.content_type, "content_encoding": raw.content_encoding}
        publishes.append(Publish("", queue, encode_properties(values), raw.body, queue))
    deadline = time.monotonic() + TIMEOUT_S
    connection = AmqpConnection(amqp_address.parse(url), deadline, name="torture")
    try:
        for start in range(0, len(publishes), _AT_ONCE):
            batch = connection.run(_publish(publishes[start : start + _AT_ONCE]), deadline)
            if batch.returned or batch.refused:
                raise ValueError(f"RabbitMQ has not taken all messages for queue {queue!r}: is the queue there?")
    finally:
        connection.close()


def put_sqlite(url: str, queue: str, payloads: Sequence[bytes]) -> None:
    """Insert rows; the queue must be there."""
    with closing(sqlite3.connect(path_of(url), timeout=TIMEOUT_S)) as database, database:
        database.executemany(_INSERT, [(queue, time.time(), payload) for payload in payloads])


def _publish(publishes: Sequence[Publish]) -> Script[Batch]:
    batch: Batch = yield Send(publishes)
    return batch


def _row(raw: Raw, queue: str) -> bytes:
    return stored.encode(
        Message(
            queue,
            dict(raw.headers),
            raw.body,
            dict(raw.properties),
            raw.content_type or "",
            raw.content_encoding or "",
        )
    )
