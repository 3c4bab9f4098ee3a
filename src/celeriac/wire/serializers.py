"""Values to bytes and back, by the serializers' names and content types."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from celeriac.exceptions import ContentDisallowed, DecodeError, EncodeError
from celeriac.wire import json_text, msgpack
from celeriac.wire.compression import compress, decompress

__all__ = ["Encoded", "compress", "decompress", "dumps", "loads"]


class Encoded(NamedTuple):
    """Bytes, and the two words that say how to read them."""

    content_type: str
    content_encoding: str
    data: bytes


class _Serializer(NamedTuple):
    name: str
    content_type: str
    content_encoding: str
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


_SERIALIZERS: Final = (
    _Serializer("json", "application/json", "utf-8", json_text.dumps, json_text.loads),
    _Serializer("msgpack", "application/x-msgpack", "binary", msgpack.dumps, msgpack.loads),
)
_BY_NAME: Final = {serializer.name: serializer for serializer in _SERIALIZERS}
_BY_TYPE: Final = {serializer.content_type: serializer for serializer in _SERIALIZERS}
_ENCODINGS: Final = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii", "binary"})
"""Encodings under which bytes are read as they are; JSON is always UTF-8, of which ASCII is a part."""


def dumps(value: Any, serializer: str) -> Encoded:
    """Write `value` by the serializer of that name or content type.

    Raises `EncodeError` for an unknown one or a value that it cannot write.
    """
    found = _BY_NAME.get(serializer) or _BY_TYPE.get(serializer)
    if found is None:
        raise EncodeError(f"unknown serializer {serializer!r}: choose one of {', '.join(_BY_NAME)}")
    return Encoded(found.content_type, found.content_encoding, found.dumps(value))


def loads(data: bytes, content_type: str, content_encoding: str, accept: Collection[str]) -> Any:
    """Read a value of a content type that `accept` allows by its serializer's name or as MIME type.

    Raises `ContentDisallowed`, and `DecodeError` for data that are not what they claim to be.
    """
    found = _BY_TYPE.get(content_type)
    if content_type not in accept and (found is None or found.name not in accept):
        shown = ", ".join(accept) or "nothing"
        raise ContentDisallowed(f"content type {content_type!r:.80} is not accepted; accept_content allows: {shown}")
    if found is None:
        raise DecodeError(f"content type {content_type!r:.80} is accepted, but there is no serializer for it")
    if (content_encoding or "").lower() not in _ENCODINGS:
        raise DecodeError(f"unknown content encoding {content_encoding!r:.80}")
    return found.loads(data)
