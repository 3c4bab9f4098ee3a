"""Serializers for programs: kombu's `kombu.serialization`, and `register_type` of `kombu.utils.json`.

What is registered here holds for all apps of the process; a worker's executors have what the app's modules register.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from celeriac.client.readable import disable_insecure_serializers, enable_insecure_serializers, readable
from celeriac.exceptions import ContentDisallowed, DecodeError, EncodeError
from celeriac.wire import serializers
from celeriac.wire.json_text import register_type
from celeriac.wire.serializers import register

__all__ = [
    "disable_insecure_serializers",
    "dumps",
    "enable_insecure_serializers",
    "loads",
    "register",
    "register_type",
    "unregister",
]


def unregister(name: str) -> None:
    """Take away a serializer that was registered. Raises `EncodeError` for an unknown one."""
    try:
        serializers.unregister(name)
    except KeyError:
        raise EncodeError(serializers.unknown(name)) from None


def dumps(data: Any, serializer: str | None = None) -> tuple[str, str, Any]:
    """Return content type, content encoding and `data` written; bytes and text stay as they are where no serializer is named.

    Raises `EncodeError` for an unknown serializer and for what it cannot write.
    """
    if serializer == "raw" or (serializer is None and isinstance(data, bytes)):
        if isinstance(data, str):
            return "application/data", "utf-8", data.encode()
        return "application/data", "binary", data
    if serializer is None and isinstance(data, str):
        return "text/plain", "utf-8", data.encode()
    content_type, content_encoding, written = serializers.dumps(data, serializer or "json")
    return content_type, content_encoding, written.decode() if content_encoding == "utf-8" else written


def loads(
    data: Any,
    content_type: str | None,
    content_encoding: str | None,
    accept: Collection[str] | None = None,
    force: bool = False,
) -> Any:
    """Return what was written, of a type that `accept` lists by name or content type; `force` reads any.

    Data and text without a serializer come back as they are.  Raises `ContentDisallowed` and `DecodeError`.
    """
    content_type = content_type or "application/data"
    encoding = (content_encoding or "utf-8").lower()
    allowed: Collection[str] = readable if accept is None else accept
    if force:
        allowed = [content_type]
    written = data.encode() if isinstance(data, str) else bytes(data)
    if content_type in ("application/data", "application/text", "text/plain"):
        if content_type == "text/plain" and accept is not None and content_type not in allowed:
            raise ContentDisallowed(f"content type {content_type!r} is not accepted")
        return data if encoding in ("binary", "ascii-8bit") or isinstance(data, str) else _text(written, encoding)
    return serializers.loads(written, content_type, encoding, allowed) if written else data


def _text(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except (LookupError, ValueError) as error:
        raise DecodeError(f"no text in {encoding!r:.80}: {error}") from None
