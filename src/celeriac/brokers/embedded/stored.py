"""A message as it stands in the file: the struct itself, in MessagePack."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from celeriac.core.headers import CRASHES, LOSSES, with_escaped_texts
from celeriac.core.message import Message
from celeriac.exceptions import BadMessage, EncodeError

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the message as bytes; raises `EncodeError` when a header or a property is no plain data."""
    try:
        return _encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(
            f"the headers or properties of the message to queue {message.queue!r} cannot be stored: {error}"
        ) from error


def _encode(message: Message) -> bytes:
    try:
        return _ENCODER.encode(message)
    except UnicodeEncodeError:
        return _ENCODER.encode(replace(message, headers=with_escaped_texts(message.headers)))


def decode(payload: bytes) -> Message:
    """Return the message in the bytes; raises `BadMessage` that says what they are instead."""
    try:
        return _DECODER.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadMessage(f"no message of the embedded broker: {error}") from None


def losses_of(message: Message) -> int:
    """Return how often a message went down with a whole worker before it was published again, as its headers tell."""
    losses = message.headers.get(LOSSES, 0)
    return losses if isinstance(losses, int) else 0


def id_of(payload: bytes) -> str | None:
    """Return the task id in these bytes, None when they are no message."""
    try:
        task_id = decode(payload).headers.get("id")
    except BadMessage:
        return None
    return task_id if isinstance(task_id, str) else None


def reset(payload: bytes) -> bytes:
    """Return the stored message as if it had never crashed anything; what is no message, as it is."""
    try:
        message = decode(payload)
    except BadMessage:
        return payload
    message.headers = {name: value for name, value in message.headers.items() if name not in (CRASHES, LOSSES)}
    return encode(message)
