"""Events as Celery writes them: one object, or a list of those of one group, in a letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from celeriac.core.converting import convert
from celeriac.core.message import Message
from celeriac.exceptions import BadMessage, ContentDisallowed, DecodeError
from celeriac.wire import serializers

Event = dict[str, Any]

MAX_CONTAINERS: Final = 200_000
"""Lists and objects in one letter."""
MULTI_MAX: Final = 24
"""So many events Celery's workers put into one letter at most."""

_TRANSIENT: Final = 1  # delivery mode


class _Common(Struct):
    """What is looked at in every event, as far as it is there; anything else is the event's own."""

    type: str
    hostname: str | None = None
    timestamp: float | None = None
    clock: int | None = None
    utcoffset: float | None = None
    pid: int | None = None
    uuid: str | None = None


def group_of(type: str) -> str:
    """Return the group of a type of events: `task` of `task-sent`."""
    return type.partition("-")[0]


def encode_event(event: Mapping[str, Any], exchange: str, serializer: str = "json") -> Message:
    """Return the letter of one event. Raises `EncodeError` for fields that are no plain data."""
    return _letter(event, event["type"].replace("-", "."), event, exchange, serializer)


def encode_events(events: Sequence[Mapping[str, Any]], exchange: str, serializer: str = "json") -> Message:
    """Return the letter of several events of one group and host. Raises as `encode_event`."""
    key = f"{group_of(events[0]['type'])}.multi"
    return _letter(list(events), key, events[0], exchange, serializer)


def decode_events(letter: Message, accept: Sequence[str], max_bytes: int) -> list[Event]:
    """Read a letter; `accept` names serializers. Raises `BadMessage` that says what is wrong with it."""
    if len(letter.body) > max_bytes:
        raise BadMessage(f"{len(letter.body)} bytes are more than event_max_bytes ({max_bytes}) allows")
    if serializers.exceeds_containers(letter.body, letter.content_type, MAX_CONTAINERS):
        raise BadMessage(f"it has more than {MAX_CONTAINERS} lists and objects")
    try:
        body = serializers.loads(letter.body, letter.content_type, letter.content_encoding, accept)
    except (DecodeError, ContentDisallowed) as error:
        raise BadMessage(str(error)) from None
    events = body if isinstance(body, list) else [body]
    for event in events:
        try:
            convert(event, _Common)
        except msgspec.ValidationError as error:
            raise BadMessage(f"no event: {error}") from None
    return events


def _letter(body: Any, key: str, first: Mapping[str, Any], exchange: str, serializer: str) -> Message:
    content = serializers.dumps(body, serializer)
    headers = {"hostname": first.get("hostname")}
    return Message(
        "",
        headers,
        content.data,
        {"delivery_mode": _TRANSIENT},
        content.content_type,
        content.content_encoding,
        exchange,
        key,
    )
