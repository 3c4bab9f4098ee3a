"""The JSON object in which a message stands in a Redis list, as Celery's transport writes it."""

from __future__ import annotations

import binascii
import contextlib
from typing import Any, Final

import msgspec
from msgspec import Struct

from celeriac.core.converting import convert
from celeriac.core.message import Message
from celeriac.exceptions import BadMessage, DecodeError, EncodeError
from celeriac.wire import json_text

MAX_CONTAINERS: Final = 20_000
"""Lists and objects beside the body, which is a text here: all of headers and properties."""

_TAG_BYTES: Final = b'"__type__"'


class _Envelope(Struct, rename={"content_encoding": "content-encoding", "content_type": "content-type"}):
    body: str
    headers: dict[str, Any]
    properties: dict[str, Any]
    content_encoding: str | None = None
    content_type: str | None = None


def encode(message: Message, delivery_tag: str) -> bytes:
    """Write the envelope; `delivery_tag` is the message's identity, new for each message that is sent.

    Raises `EncodeError` for headers or properties that are no plain data.
    """
    headers = message.headers
    properties: dict[str, Any] = {**message.properties}
    is_plain = json_text.are_scalars(headers.values()) and json_text.are_scalars(properties.values())
    properties["delivery_info"] = {
        "exchange": message.exchange,
        "routing_key": message.queue if message.routing_key is None else message.routing_key,
    }
    properties["priority"] = message.priority
    properties["body_encoding"] = "base64"
    properties["delivery_tag"] = delivery_tag
    document = {
        "body": binascii.b2a_base64(message.body, newline=False).decode("ascii"),
        "content-encoding": message.content_encoding,
        "content-type": message.content_type,
        "headers": headers,
        "properties": properties,
    }
    if is_plain:
        with contextlib.suppress(EncodeError):
            return json_text.dumps_plain(document)
    return json_text.dumps(document)


def decode(raw: bytes, queue: str) -> Message:
    """Read an envelope that stood in the list of `queue`. Raises `BadMessage` that says what is wrong."""
    envelope = _read(raw)
    headers, properties = envelope.headers, envelope.properties
    if not isinstance(properties.pop("delivery_tag", None), str):
        raise BadMessage("no Redis envelope: properties.delivery_tag is missing or no text")
    where = properties.pop("delivery_info", None)
    exchange, routing_key = _destination(where) if where else ("", None)
    priority = properties.get("priority")
    if priority is not None and type(priority) is not int:
        raise BadMessage("no Redis envelope: properties.priority is no integer")
    return Message(
        queue,
        headers,
        _body(envelope.body, properties.pop("body_encoding", None)),
        properties,
        # What a message does not name is bytes of no known kind; nobody accepts those, and the reason says so.
        envelope.content_type or "application/data",
        envelope.content_encoding or "utf-8",
        exchange,
        None if routing_key == queue else routing_key,
    )


def _read(raw: bytes) -> _Envelope:
    is_shallow = json_text.is_shallow(raw)
    if not is_shallow and json_text.exceeds_containers(raw, MAX_CONTAINERS) and not json_text.exceeds_depth(raw):
        raise BadMessage(f"no Redis envelope: it has more than {MAX_CONTAINERS} lists and objects")
    try:
        if _TAG_BYTES not in raw and (is_shallow or not json_text.exceeds_depth(raw)):
            return _decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # What msgspec alone refuses (NaN, lone surrogates) may still be JSON; the way below tells.
        pass
    try:
        return convert(json_text.loads(raw), _Envelope)
    except (DecodeError, msgspec.ValidationError) as error:
        raise BadMessage(f"no Redis envelope: {error}") from None


def _destination(where: Any) -> tuple[str, str | None]:
    if not isinstance(where, dict):
        raise BadMessage("no Redis envelope: properties.delivery_info is no object")
    exchange, routing_key = where.get("exchange") or "", where.get("routing_key")
    if not isinstance(exchange, str) or not isinstance(routing_key, str | None):
        raise BadMessage("no Redis envelope: properties.delivery_info holds something else than texts")
    return exchange, routing_key


def _body(text: str, encoding: Any) -> bytes:
    try:
        if encoding == "base64":
            return binascii.a2b_base64(text, strict_mode=True)
        if encoding in (None, "utf-8"):
            return text.encode("utf-8")
    except ValueError as error:
        raise BadMessage(f"the body is no {encoding or 'utf-8'}: {error}") from None
    raise BadMessage(f"unknown body encoding {encoding!r:.80}")


_decoder: Final = msgspec.json.Decoder(_Envelope)
