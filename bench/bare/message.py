"""Celery's messages, built and read with nothing but msgspec: what every client and worker on this wire has to do at least.

Headers that say nothing are left out, as Celeriac does it: the bare loop is not to win by writing less, nor to lose by writing more.
"""

from __future__ import annotations

import binascii
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from uuid import uuid4

import msgspec

from bench import deeds

EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
ORIGIN: Final = f"gen{os.getpid()}@{socket.gethostname()}"
TASKS: Final[dict[str, Callable[..., Any]]] = {"noop": deeds.noop, "answer": deeds.answer, "carry": deeds.carry}

encode = msgspec.json.Encoder().encode
decode_body = msgspec.json.Decoder(tuple[list[Any], dict[str, Any], dict[str, Any]]).decode


class Call(NamedTuple):
    """What a message says."""

    id: str
    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]


class Envelope(msgspec.Struct):
    """What a worker needs of the JSON in a Redis list."""

    body: str
    headers: dict[str, Any]
    properties: dict[str, Any]


decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_result = msgspec.json.Decoder(dict[str, Any]).decode


def make_call(task: str, arguments: Sequence[Any], reply_to: str) -> Call:
    """Build body, headers and properties, under a new id."""
    task_id = str(uuid4())
    headers: dict[str, Any] = {
        "lang": "py",
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "argsrepr": repr(arguments),
        "kwargsrepr": "{}",
        "origin": ORIGIN,
        "ignore_result": task != "answer",
    }
    properties = {"correlation_id": task_id, "reply_to": reply_to, "delivery_mode": 2, "priority": 0}
    return Call(task_id, encode((arguments, {}, EMBED)), headers, properties)


def make_envelope(call: Call, queue: str) -> bytes:
    """Build the JSON that stands in a Redis list."""
    properties = {
        **call.properties,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "body_encoding": "base64",
        "delivery_tag": str(uuid4()),
    }
    return encode(
        {
            "body": binascii.b2a_base64(call.body, newline=False).decode("ascii"),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": call.headers,
            "properties": properties,
        }
    )


def run(task: str, body: bytes) -> Any:
    """Read a body, run its task and return the result."""
    arguments, keywords, _ = decode_body(body)
    return TASKS[task](*arguments, **keywords)


def make_result(task_id: str, value: Any) -> bytes:
    """Build the document of a result."""
    return encode({"status": "SUCCESS", "result": value, "traceback": None, "children": [], "task_id": task_id})
