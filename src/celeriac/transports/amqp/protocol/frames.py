"""Frames: the envelope of everything on the wire."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Protocol

from celeriac.transports.amqp.protocol.codec import short_string

PREAMBLE: Final = b"AMQP\x00\x00\x09\x01"

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = 8
END: Final = 0xCE

OVERHEAD: Final = 8
"""Bytes of a frame around its payload: head 7, end 1."""
MIN_FRAME_BYTES: Final = 4096
MAX_FRAME_BYTES: Final = 131_072
"""What we offer; RabbitMQ's default too. A larger frame would hold up the others."""

HEARTBEAT_FRAME: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"

_HEAD = struct.Struct(">BHI")
pack_head = _HEAD.pack
unpack_head = _HEAD.unpack_from

_CONTENT_HEAD = struct.Struct(">BHIHHQ")
_ACK = struct.Struct(">BHIHHQBB")
BASIC: Final = 60


def method_frame(channel: int, payload: bytes) -> bytes:
    """Wrap a method."""
    return pack_head(METHOD, channel, len(payload)) + payload + b"\xce"


class SettleFrame(Protocol):
    """`ack_frame` and `nack_frame`."""

    def __call__(self, channel: int, delivery_tag: int, *, multiple: bool) -> bytes: ...


def ack_frame(channel: int, delivery_tag: int, *, multiple: bool) -> bytes:
    """basic.ack: of one delivery, or of all up to it."""
    return _ACK.pack(METHOD, channel, 13, BASIC, 80, delivery_tag, multiple, END)


def nack_frame(channel: int, delivery_tag: int, *, multiple: bool) -> bytes:
    """basic.nack that gives back: one delivery, or all up to it."""
    return _ACK.pack(METHOD, channel, 13, BASIC, 120, delivery_tag, 2 | multiple, END)


def tx_commit_frame(channel: int) -> bytes:
    """tx.commit: what was acknowledged or given back since the last one takes effect."""
    return method_frame(channel, b"\x00\x5a\x00\x14")


def tx_rollback_frame(channel: int) -> bytes:
    """tx.rollback: what was acknowledged or given back since the last commit is held again."""
    return method_frame(channel, b"\x00\x5a\x00\x1e")


def publish_frames(
    channel: int, exchange: str, routing_key: str, properties: bytes, body: bytes, *, mandatory: bool, frame_max: int
) -> Iterator[bytes]:
    """basic.publish with its content, in frames no larger than `frame_max` bytes."""
    names = short_string(exchange) + short_string(routing_key)
    yield (
        pack_head(METHOD, channel, 7 + len(names))
        + b"\x00\x3c\x00\x28\x00\x00"
        + names
        + (b"\x01\xce" if mandatory else b"\x00\xce")
    )
    yield _CONTENT_HEAD.pack(HEADER, channel, 12 + len(properties), BASIC, 0, len(body)) + properties + b"\xce"
    room = frame_max - OVERHEAD
    if len(body) <= room:
        if body:
            yield pack_head(BODY, channel, len(body)) + body + b"\xce"
        return
    for start in range(0, len(body), room):
        part = body[start : start + room]
        yield pack_head(BODY, channel, len(part)) + part + b"\xce"
