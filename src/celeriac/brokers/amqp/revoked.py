"""Revocations as they stand in the stream `celeriac.revoked`."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from celeriac.core.message import Revocation
from celeriac.transports.amqp.outbox import Publish
from celeriac.transports.amqp.protocol.properties import encode_properties
from celeriac.transports.amqp.topology import REVOKED_STREAM

_PROPERTIES: Final = encode_properties({"content_type": "application/json", "delivery_mode": 2})


class Entry(Struct, omit_defaults=True):
    """One record of the stream: a revocation, or the mark by which a reader knows that it has read all before it."""

    revocation: Revocation | None = None
    mark: str = ""


def to_publish(entry: Entry) -> Publish:
    """Return an entry ready for the wire."""
    return Publish("", REVOKED_STREAM, _PROPERTIES, msgspec.json.encode(entry), REVOKED_STREAM, mandatory=False)


def from_body(body: bytes) -> Entry:
    """Read an entry; what is none is an empty one, because nobody's junk may stop the reading of a stream."""
    try:
        return msgspec.json.decode(body, type=Entry)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Entry()
