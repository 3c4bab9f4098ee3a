"""Puts messages into a queue that no client of ours would send, by the plainest means that each broker has."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import amqp
import redis
from msgspec import Struct

from celeriac.core.message import Message
from tests.e2e.harness import Place, task_name


class Raw(Struct, frozen=True):
    """A message as bytes and headers, to be put there unchecked."""

    body: bytes = b"[[], {}, {}]"
    headers: Mapping[str, Any] = {}
    properties: Mapping[str, Any] = {}
    content_type: str | None = "application/json"
    content_encoding: str | None = "utf-8"


def headers(task: str = "work", **changes: Any) -> dict[str, Any]:
    """Headers as they should be, with changes; a change to `...` leaves the header out."""
    task_id = str(uuid.uuid4())
    good = {
        "lang": "py",
        "task": task_name(task),
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "ignore_result": True,
        **changes,
    }
    return {name: value for name, value in good.items() if value is not ...}


def put(place: Place, queue: str, messages: list[Raw]) -> None:
    """Put all of them into a queue that exists."""
    {"sqlite": _put_sqlite, "redis": _put_redis, "rabbitmq": _put_rabbitmq}[place.name](place, queue, messages)


def _put_sqlite(place: Place, queue: str, messages: list[Raw]) -> None:
    producer = place.app.broker.producer()
    producer.publish(
        [
            Message(
                queue=queue,
                headers=dict(raw.headers),
                body=raw.body,
                properties=dict(raw.properties),
                content_type=raw.content_type or "",
                content_encoding=raw.content_encoding or "",
            )
            for raw in messages
        ],
        10.0,
    )
    producer.close()


def _put_redis(place: Place, queue: str, messages: list[Raw]) -> None:
    put_envelopes(place, queue, [envelope(raw, queue) for raw in messages])


def envelope(raw: Raw, queue: str, **changes: Any) -> bytes:
    """The JSON that stands in a Redis list, with changes to its topmost level; `...` leaves a part out."""
    whole = {
        "body": base64.b64encode(raw.body).decode(),
        "content-encoding": raw.content_encoding,
        "content-type": raw.content_type,
        "headers": raw.headers,
        "properties": {
            "correlation_id": "x",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
            **raw.properties,
        },
        **changes,
    }
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def put_envelopes(place: Place, queue: str, envelopes: list[bytes]) -> None:
    """Push anything at all into a Redis list."""
    with redis.Redis.from_url(place.broker_url) as client:
        client.lpush(queue, *envelopes)


def _put_rabbitmq(place: Place, queue: str, messages: list[Raw]) -> None:
    url = urlsplit(place.broker_url)
    with amqp.Connection(
        host=f"{url.hostname}:{url.port}", userid=url.username, password=url.password, virtual_host=url.path[1:]
    ) as connection:
        channel = connection.channel()
        for raw in messages:
            given = {"content_type": raw.content_type, "content_encoding": raw.content_encoding}
            given = {name: value for name, value in given.items() if value is not None}
            message = amqp.basic_message.Message(
                raw.body, application_headers=dict(raw.headers), delivery_mode=2, **given, **raw.properties
            )
            channel.basic_publish(message, exchange="", routing_key=queue)
        channel.close()  # answered only after everything before it
