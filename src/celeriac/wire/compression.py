"""Compressed bodies, by the names and MIME types that Celery uses, with a limit on what they may unfold to."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from celeriac.exceptions import DecodeError, EncodeError


class _Method(NamedTuple):
    mime: str
    names: tuple[str, ...]
    compress: Callable[[bytes], bytes]
    decompressor: Callable[[], Any]


# Celery's writers need 10 MiB to be read; a stranger's header may ask for gigabytes.
_XZ_MEMORY_BYTES: Final = 128 * 1024 * 1024

# Celery's "gzip" is a bare zlib stream, not a gzip file.
_METHODS: Final = (
    _Method("application/x-gzip", ("gzip", "zlib"), zlib.compress, zlib.decompressobj),
    _Method("application/x-bz2", ("bzip2", "bzip", "bz2"), bz2.compress, bz2.BZ2Decompressor),
    _Method(
        "application/x-lzma",
        ("lzma", "xz"),
        lzma.compress,
        partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, _XZ_MEMORY_BYTES),
    ),
)
_BY_NAME: Final = {name: method for method in _METHODS for name in (method.mime, *method.names)}


def compress(data: bytes, method: str) -> tuple[str, bytes]:
    """Compress `data` and return the MIME type for the header `compression`, and the bytes.

    Raises `EncodeError` for an unknown method.
    """
    found = _BY_NAME.get(method)
    if found is None:
        raise EncodeError(f"unknown compression {method!r}: choose one of {_choices()}")
    return found.mime, found.compress(data)


def decompress(data: bytes, mime: str, limit_bytes: int) -> bytes:
    """Return what `data` unfolds to, at most `limit_bytes`; no more memory than that is used.

    Raises `DecodeError` for an unknown method, for broken data and for more than the limit.
    """
    found = _BY_NAME.get(mime)
    if found is None:
        raise DecodeError(f"unknown compression {mime!r:.80}: known are {_choices()}")
    decompressor = found.decompressor()
    try:
        # One byte more than allowed tells "exactly the limit" from "too much".
        unfolded: bytes = decompressor.decompress(data, limit_bytes + 1)
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
        raise DecodeError(f"broken {mime} data: {error}") from None
    if len(unfolded) > limit_bytes:
        raise DecodeError(f"compressed data unfolds to more than {limit_bytes} bytes")
    if not decompressor.eof:
        raise DecodeError(f"broken {mime} data: it ends too early")
    return unfolded


def _choices() -> str:
    return ", ".join(sorted(name for method in _METHODS for name in method.names))
