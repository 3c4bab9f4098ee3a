"""What the broker tells us."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Opened(Struct, frozen=True):
    """The handshake is done."""

    server: dict[str, Any]
    heartbeat_s: int


class Answer(Struct, frozen=True):
    """The answer to a call."""

    channel: int
    method: int
    arguments: bytes


class Delivered(Struct):
    """A message for a consumer, or (`consumer` empty) the answer to basic.get."""

    channel: int
    consumer: str
    delivery_tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: bytes = b""
    """Still encoded: they are read where a message that cannot be read does least harm."""
    body: bytes = b""


class Returned(Struct):
    """A mandatory message that no queue was there for."""

    channel: int
    code: int
    text: str
    exchange: str
    routing_key: str
    properties: bytes = b""
    body: bytes = b""


class Confirmed(Struct, frozen=True):
    """The broker took (or, `taken` false, refused) what was published up to this number, or just that one."""

    channel: int
    number: int
    multiple: bool
    taken: bool


class Cancelled(Struct, frozen=True):
    """The broker ended a consumer: its queue is gone, or moved."""

    channel: int
    consumer: str


class ChannelClosed(Struct, frozen=True):
    """The broker closed a channel; every delivery tag of it is void."""

    channel: int
    code: int
    text: str


class ConnectionClosed(Struct, frozen=True):
    """The broker closed the connection, or (code 0) answered our wish to close it."""

    code: int
    text: str


class Blocked(Struct, frozen=True):
    """The broker takes nothing more, for a reason of its own (memory, disk)."""

    reason: str


class Unblocked(Struct, frozen=True):
    """The broker takes messages again."""


Event = (
    Opened
    | Answer
    | Delivered
    | Returned
    | Confirmed
    | Cancelled
    | ChannelClosed
    | ConnectionClosed
    | Blocked
    | Unblocked
)
