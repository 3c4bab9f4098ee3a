"""Compressed bodies, by the names and MIME types that Celery uses, with a limit on what they may unfold to."""

from __future__ import annotations

import bz2
import difflib
import lzma
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from celeriac.exceptions import DecodeError, EncodeError, ImproperlyConfigured


class _Method(NamedTuple):
    mime: str
    names: tuple[str, ...]
    compress: Callable[[bytes], bytes]
    unfold: Callable[[bytes, int], tuple[bytes, bool]]
    """Takes the data and a limit in bytes; gives the beginning of what they unfold to, at least one byte over the limit if there
    is so much, and whether that is all of it."""


# Celery's writers need 10 MiB to be read; a stranger's header may ask for gigabytes.
_XZ_MEMORY_BYTES: Final = 128 * 1024 * 1024
_ZSTD_WINDOW_BYTES: Final = 128 * 1024 * 1024
# A block of zstd unfolds to at most 128 KiB and is at least 4 bytes long: so much goes over the limit at most.
_ZSTD_STEP_BYTES: Final = 64


def _with_limit(make: Callable[[], Any]) -> Callable[[bytes, int], tuple[bytes, bool]]:
    """Make the reader of a method whose decompressor takes a limit by itself."""

    def unfold(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
        decompressor = make()
        # One byte more than allowed tells "exactly the limit" from "too much".
        unfolded: bytes = decompressor.decompress(data, limit_bytes + 1)
        return unfolded, bool(decompressor.eof)

    return unfold


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError:
        raise ImproperlyConfigured("compression 'zstd' needs zstandard: pip install 'celeriac[zstd]'") from None
    return zstandard


def _compress_zstd(data: bytes) -> bytes:
    compressed: bytes = _zstd().ZstdCompressor().compress(data)
    return compressed


def _unfold_zstd(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    zstandard = _zstd()
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()
    parts, size = [], 0
    try:
        for start in range(0, len(data), _ZSTD_STEP_BYTES):
            parts.append(decompressor.decompress(data[start : start + _ZSTD_STEP_BYTES]))
            size += len(parts[-1])
            if size > limit_bytes or decompressor.eof:
                break
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
    return b"".join(parts), decompressor.eof


def _brotli() -> Any:
    try:
        import brotli
    except ImportError:
        raise ImproperlyConfigured("compression 'brotli' needs brotli: pip install 'celeriac[brotli]'") from None
    return brotli


def _compress_brotli(data: bytes) -> bytes:
    compressed: bytes = _brotli().compress(data)
    return compressed


def _unfold_brotli(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    brotli = _brotli()
    decompressor = brotli.Decompressor()
    parts, size = [], 0
    try:
        while size <= limit_bytes:
            part = decompressor.process(data, output_buffer_limit=limit_bytes + 1 - size)
            parts.append(part)
            size += len(part)
            data = b""
            if decompressor.is_finished() or (not part and decompressor.can_accept_more_data()):
                break
    except brotli.error as error:
        raise ValueError(str(error)) from None
    return b"".join(parts), decompressor.is_finished()


# Celery's "gzip" is a bare zlib stream, not a gzip file.
_METHODS: Final = (
    _Method("application/x-gzip", ("gzip", "zlib"), zlib.compress, _with_limit(zlib.decompressobj)),
    _Method("application/x-bz2", ("bzip2", "bzip", "bz2"), bz2.compress, _with_limit(bz2.BZ2Decompressor)),
    _Method(
        "application/x-lzma",
        ("lzma", "xz"),
        lzma.compress,
        _with_limit(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY_BYTES)),
    ),
    _Method("application/zstd", ("zstd", "zstandard"), _compress_zstd, _unfold_zstd),
    _Method("application/x-brotli", ("brotli",), _compress_brotli, _unfold_brotli),
)
_BY_NAME: Final = {name: method for method in _METHODS for name in (method.mime, *method.names)}
_CHOICES: Final = sorted(name for method in _METHODS for name in method.names)


def check_method(method: str) -> None:
    """Raise `EncodeError` for a method that does not exist, with the nearest that does, and `ImproperlyConfigured` for one
    whose package is not installed.
    """
    found = _BY_NAME.get(method)
    if found is None:
        near = difflib.get_close_matches(method, _CHOICES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(_CHOICES)}"
        raise EncodeError(f"unknown compression {method!r}: {hint}")
    if found.unfold is _unfold_zstd:
        _zstd()
    elif found.unfold is _unfold_brotli:
        _brotli()


def compress(data: bytes, method: str) -> tuple[str, bytes]:
    """Compress `data` and return the MIME type for the header `compression`, and the bytes.

    Raises `EncodeError` for an unknown method.
    """
    found = _BY_NAME.get(method)
    if found is None:
        check_method(method)
        raise AssertionError(method)
    return found.mime, found.compress(data)


def decompress(data: bytes, mime: str, limit_bytes: int) -> bytes:
    """Return what `data` unfolds to, at most `limit_bytes`; little more memory than that is used.

    Raises `DecodeError` for an unknown method, for broken data and for more than the limit.
    """
    found = _BY_NAME.get(mime)
    if found is None:
        raise DecodeError(f"unknown compression {mime!r:.80}: known are {', '.join(_CHOICES)}")
    try:
        unfolded, complete = found.unfold(data, limit_bytes)
    except ImproperlyConfigured as error:
        raise DecodeError(str(error)) from None
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
        raise DecodeError(f"broken {mime} data: {error}") from None
    if len(unfolded) > limit_bytes:
        raise DecodeError(f"compressed data unfolds to more than {limit_bytes} bytes")
    if not complete:
        raise DecodeError(f"broken {mime} data: it ends too early")
    return unfolded
