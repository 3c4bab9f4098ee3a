"""The properties beside a body: fourteen optional fields behind a word of flags."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from celeriac.transports.amqp.protocol.codec import (
    encode_table,
    read_short_string,
    read_short_text,
    read_table,
    short_string,
    short_text,
)
from celeriac.transports.amqp.protocol.errors import CodecError

_NAME, _TEXT, _BYTE, _TABLE, _TIME = range(5)
# A name is one of few, and remembered; a text is another one in each message.

# Name, flag, kind, in the order of the wire.
_FIELDS: Final = (
    ("content_type", 1 << 15, _NAME),
    ("content_encoding", 1 << 14, _NAME),
    ("headers", 1 << 13, _TABLE),
    ("delivery_mode", 1 << 12, _BYTE),
    ("priority", 1 << 11, _BYTE),
    ("correlation_id", 1 << 10, _TEXT),
    ("reply_to", 1 << 9, _TEXT),
    ("expiration", 1 << 8, _TEXT),
    ("message_id", 1 << 7, _TEXT),
    ("timestamp", 1 << 6, _TIME),
    ("type", 1 << 5, _TEXT),
    ("user_id", 1 << 4, _TEXT),
    ("app_id", 1 << 3, _TEXT),
    ("cluster_id", 1 << 2, _TEXT),
)
_FLAGS = struct.Struct(">H")


def encode_properties(values: Mapping[str, Any], headers: bytes | None = None) -> bytes:
    """Write the properties; names that AMQP does not know and values of None are left out.

    headers: a table already encoded, in place of `values["headers"]`.
    Raises `CodecError` that names the property which does not fit.
    """
    flags = 0
    parts = [b""]
    for name, flag, kind in _FIELDS:
        if kind == _TABLE:
            if headers is None:
                table = values.get(name)
                if table is None:
                    continue
                parts.append(encode_table(table))
            else:
                parts.append(headers)
            flags |= flag
            continue
        value = values.get(name)
        if value is None:
            continue
        flags |= flag
        if kind == _TEXT:
            parts.append(short_text(value if type(value) is str else str(value)))
        elif kind == _NAME:
            parts.append(short_string(value if type(value) is str else str(value)))
        elif kind == _BYTE:
            if not isinstance(value, int) or not 0 <= value <= 255:
                raise CodecError(f"property {name!r} = {value!r:.80}: a number from 0 to 255 is wanted")
            parts.append(bytes((value,)))
        else:
            parts.append(_timestamp(value))
    parts[0] = _FLAGS.pack(flags)
    return b"".join(parts)


def _timestamp(value: Any) -> bytes:
    seconds = int(value.timestamp()) if isinstance(value, datetime) else value
    if not isinstance(seconds, int | float) or not 0 <= seconds < 2**64:
        raise CodecError(f"property 'timestamp' = {value!r:.80}: seconds since 1970 are wanted")
    return struct.pack(">Q", int(seconds))


def decode_properties(data: bytes) -> dict[str, Any]:
    """Read the properties that are set, headers among them as a dict.

    Raises `CodecError` for bytes that are no properties.
    """
    values, _ = _read(data, decode_headers=True)
    return values


def split_properties(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Read the properties but leave the headers encoded: (the others, the headers' table).

    Raises `CodecError` as `decode_properties` does.
    """
    return _read(data, decode_headers=False)


@lru_cache(maxsize=256)
def _fields_of(flags: int) -> tuple[tuple[str, int], ...]:
    if flags & 3:
        raise CodecError("properties with flags that AMQP 0-9-1 does not know")
    return tuple((name, kind) for name, flag, kind in _FIELDS if flags & flag)


def _read(data: bytes, *, decode_headers: bool) -> tuple[dict[str, Any], bytes]:
    values: dict[str, Any] = {}
    raw_headers = b"\x00\x00\x00\x00"
    try:
        position = 2
        for name, kind in _fields_of(_FLAGS.unpack_from(data)[0]):
            if kind == _TEXT:
                values[name], position = read_short_text(data, position)
            elif kind == _BYTE:
                values[name] = data[position]
                position += 1
            elif kind == _NAME:
                values[name], position = read_short_string(data, position)
            elif kind == _TABLE:
                if decode_headers:
                    values[name], position = read_table(data, position)
                else:
                    end = position + 4 + int.from_bytes(data[position : position + 4], "big")
                    raw_headers = data[position:end]
                    position = end
            else:
                values[name] = struct.unpack_from(">Q", data, position)[0]
                position += 8
    except (IndexError, struct.error) as error:
        raise CodecError(f"broken properties: {error}") from None
    if position != len(data):
        raise CodecError("bytes left after the properties")
    return values, raw_headers
