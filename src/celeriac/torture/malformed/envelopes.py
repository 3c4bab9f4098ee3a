"""What may lie where a broker keeps its messages, and is none: Redis lists, and the rows of a SQLite file."""

from __future__ import annotations

import base64
import itertools
import json
import uuid
from collections.abc import Iterator
from typing import Any

from celeriac.torture.malformed.case import ENDED, Case, Raw, Target
from celeriac.torture.places import REDIS, SQLITE


def envelope(raw: Raw, queue: str, **changes: Any) -> bytes:
    """Return the JSON that stands in a Redis list, with changes to its topmost level; `...` leaves a part out."""
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


def envelopes(target: Target, queue: str) -> Iterator[Case]:
    """Yield what may stand in a Redis list."""
    numbers = itertools.count(1)

    def message(**properties: Any) -> Raw:
        # Each has a body of its own, by which it is known among the dead letters.
        return Raw(target.body(f"envelope {next(numbers)}"), target.headers(), properties)

    def changed(**properties: Any) -> bytes:
        return envelope(message(**properties), queue)

    for name, stored in {
        "not JSON": b"not JSON",
        "empty": b"",
        "list": b"[]",
        "null": b"null",
        "nothing in it": b"{}",
        "binary": b"\x00\xff\x80",
        "deep": b"[" * 100_000,
        "no properties": envelope(message(), queue, properties=...),
        "properties a list": envelope(message(), queue, properties=[1]),
        "no headers": envelope(message(), queue, headers=...),
        "headers a list": envelope(message(), queue, headers=[1]),
        "no body": envelope(message(), queue, body=...),
        "body a dict": envelope(message(), queue, body={"a": 1}),
        "body no base64": envelope(message(), queue, body="*no base64*"),
        "content type a number": envelope(message(), queue, **{"content-type": 7}),
        "no delivery tag": changed(delivery_tag=None),
        "delivery tag a dict": changed(delivery_tag={"a": 1}),
        "unknown body encoding": changed(body_encoding="rot13"),
        "priority text": changed(priority="high"),
        "destination a text": changed(delivery_info="x"),
        "destination of numbers": changed(delivery_info={"exchange": 1, "routing_key": 2}),
        "half a character": envelope(Raw(target.body("half a character"), target.headers(task="\ud800")), queue),
        "1,000,000 empty lists": envelope(message(), queue, junk=[[]] * 1_000_000),
    }.items():
        yield Case(f"envelope: {name}", stored=stored, places=(REDIS,))
    for name, stored in {
        "reply_to a dict": changed(reply_to={"a": 1}, correlation_id=[1]),
        "priority beyond": changed(priority=2**40),
        "priority negative": changed(priority=-7),
        "exchange hostile": changed(delivery_info={"exchange": "../x\r\n", "routing_key": "redis.call('FLUSHALL')"}),
    }.items():
        yield Case(f"envelope: {name}", stored=stored, end=ENDED, places=(REDIS,))
    for name, stored in {
        "not MessagePack": b"\xc1",
        "empty": b"",
        "a number": b"\x07",
        "cut off": b"\x99\xa1q\x80\xc4\xff",
    }.items():
        yield Case(f"row: {name}", stored=stored, places=(SQLITE,))
