"""Requests to workers and their replies, as Celery's remote control writes them: JSON in letters."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct, field

from celeriac.core.converting import convert
from celeriac.core.mailbox import Address
from celeriac.core.message import Message
from celeriac.exceptions import BadMessage, DecodeError, EncodeError
from celeriac.wire import json_text

MAX_CONTAINERS: Final = 200_000
"""Lists and objects in one request or reply."""
JSON: Final = "application/json"

_PERSISTENT, _TRANSIENT = 2, 1  # delivery modes; Celery sends requests and replies so


class ReplyTo(Struct, frozen=True):
    """Where a reply is wanted."""

    exchange: str
    routing_key: str

    @property
    def address(self) -> Address:
        """The address; letters to it carry the routing key."""
        return Address(self.exchange, "direct")


class _Body(Struct):
    """The body of a request; what else stands there is not read."""

    method: str
    arguments: dict[str, Any] | None = None
    destination: list[str] | None = None
    pattern: str | None = None
    matcher: str | None = None
    ticket: str | None = None
    reply_to: ReplyTo | None = None


class Request(Struct):
    """What workers are asked, or told."""

    method: str
    arguments: dict[str, Any] = field(default_factory=dict)
    destination: list[str] | None = None
    """Names of nodes; None: those that the pattern says, or all."""
    pattern: str | None = None
    matcher: str | None = None
    """How the pattern is read: `glob` or `pcre`."""
    ticket: str | None = None
    """By which the sender knows the replies; None: none is wanted."""
    reply_to: ReplyTo | None = None
    clock: int = 0
    expires: float = 0.0
    """Unix seconds after which it is not to be heeded; 0: never."""


class Reply(Struct):
    """What one node answered."""

    node: str
    payload: Any
    ticket: str | None = None
    clock: int = 0


def encode_request(request: Request, address: Address, max_bytes: int) -> Message:
    """Return the letter. Raises `EncodeError` for arguments that are no plain data, or more than `max_bytes` bytes."""
    body: dict[str, Any] = {
        "method": request.method,
        "arguments": request.arguments,
        "destination": request.destination,
        "pattern": request.pattern,
        "matcher": request.matcher,
    }
    if request.ticket is not None and request.reply_to is not None:
        reply_to = {"exchange": request.reply_to.exchange, "routing_key": request.reply_to.routing_key}
        body |= {"ticket": request.ticket, "reply_to": reply_to}
    headers = {"clock": request.clock, "expires": request.expires}
    return _letter(address.exchange, "", headers, body, _PERSISTENT, max_bytes)


def decode_request(letter: Message, max_bytes: int) -> Request:
    """Read a letter that came to a worker. Raises `BadMessage` that says what is wrong with it."""
    try:
        body = convert(_open(letter, max_bytes), _Body)
    except msgspec.ValidationError as error:
        raise BadMessage(f"no request to workers: {error}") from None
    return Request(
        body.method,
        body.arguments or {},
        body.destination,
        body.pattern,
        body.matcher,
        body.ticket,
        body.reply_to,
        _clock(letter),
        _expires(letter),
    )


def encode_reply(reply: Reply, to: ReplyTo, max_bytes: int) -> Message:
    """Return the letter. Raises `EncodeError` for a payload that is no plain data, or more than `max_bytes` bytes."""
    headers = {"ticket": reply.ticket, "clock": reply.clock}
    return _letter(to.exchange, to.routing_key, headers, {reply.node: reply.payload}, _TRANSIENT, max_bytes)


def decode_reply(letter: Message, max_bytes: int) -> Reply:
    """Read a letter that came to a client. Raises `BadMessage` that says what is wrong with it."""
    body = _open(letter, max_bytes)
    if not isinstance(body, dict) or len(body) != 1:
        raise BadMessage("no reply of a worker: an object with the name of the node is wanted")
    ((node, payload),) = body.items()
    ticket = letter.headers.get("ticket")
    return Reply(node, payload, ticket if isinstance(ticket, str) else None, _clock(letter))


def _letter(exchange: str, key: str, headers: dict[str, Any], body: Any, mode: int, max_bytes: int) -> Message:
    data = json_text.dumps(body)
    if len(data) > max_bytes:
        raise EncodeError(f"{len(data)} bytes are more than control_max_bytes ({max_bytes}) allows")
    return Message("", headers, data, {"delivery_mode": mode}, JSON, "utf-8", exchange, key)


def _open(letter: Message, max_bytes: int) -> Any:
    if len(letter.body) > max_bytes:
        raise BadMessage(f"{len(letter.body)} bytes are more than control_max_bytes ({max_bytes}) allows")
    if letter.content_type != JSON:
        raise BadMessage(f"content type {letter.content_type!r:.80}: remote control is {JSON}")
    if json_text.exceeds_containers(letter.body, MAX_CONTAINERS):
        raise BadMessage(f"it has more than {MAX_CONTAINERS} lists and objects")
    try:
        return json_text.loads(letter.body)
    except DecodeError as error:
        raise BadMessage(str(error)) from None


def _clock(letter: Message) -> int:
    clock = letter.headers.get("clock")
    return clock if isinstance(clock, int) and not isinstance(clock, bool) else 0


def _expires(letter: Message) -> float:
    expires = letter.headers.get("expires")
    if expires is None:
        return 0.0
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        raise BadMessage("no request to workers: the header `expires` is no number")
    try:
        return float(expires)
    except OverflowError:
        raise BadMessage("no request to workers: the header `expires` is beyond all times") from None
