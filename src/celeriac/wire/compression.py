"""Compressed bodies, by the names and MIME types that Celery uses, with a limit on what they may unfold to."""

from __future__ import annotations

import bz2
import difflib
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from celeriac.exceptions import DecodeError, EncodeError, ImproperlyConfigured


class _Method(NamedTuple):
    mime: str
    names: tuple[str, ...]
    compress: Callable[[bytes], bytes]
    unfold: Callable[[bytes], Iterator[bytes]]
    """Takes the data and gives what they unfold to, in pieces; raises `EOFError` for data that end too early."""


# Celery's writers need 10 MiB to be read; a stranger's header may ask for gigabytes.
_XZ_MEMORY_BYTES: Final = 128 * 1024 * 1024
_ZSTD_WINDOW_BYTES: Final = 128 * 1024 * 1024
# A block of zstd unfolds to at most 128 KiB and is at least 4 bytes long: so much goes over the limit at most.
_ZSTD_STEP_BYTES: Final = 64
_STEP_BYTES: Final = 1024 * 1024
"""Most bytes of a piece: whoever unfolds stops at the limit, without more than this beyond it."""


def _unfold_zlib(data: bytes) -> Iterator[bytes]:
    decompressor = zlib.decompressobj()
    while not decompressor.eof:
        part = decompressor.decompress(data, _STEP_BYTES)
        data = decompressor.unconsumed_tail
        if not part and not data and not decompressor.eof:
            raise EOFError
        yield part


def _unfold_file_format(make: Callable[[], Any]) -> Callable[[bytes], Iterator[bytes]]:
    """Make the reader of a method whose decompressor keeps by itself what it has not read yet."""

    def unfold(data: bytes) -> Iterator[bytes]:
        decompressor = make()
        while not decompressor.eof:
            part = decompressor.decompress(data, _STEP_BYTES)
            data = b""
            if not part and decompressor.needs_input:
                raise EOFError
            yield part

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


def _unfold_zstd(data: bytes) -> Iterator[bytes]:
    zstandard = _zstd()
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()
    try:
        for start in range(0, len(data), _ZSTD_STEP_BYTES):
            yield decompressor.decompress(data[start : start + _ZSTD_STEP_BYTES])
            if decompressor.eof:
                return
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
    raise EOFError


def _brotli() -> Any:
    try:
        import brotli
    except ImportError:
        raise ImproperlyConfigured("compression 'brotli' needs brotli: pip install 'celeriac[brotli]'") from None
    return brotli


def _compress_brotli(data: bytes) -> bytes:
    compressed: bytes = _brotli().compress(data)
    return compressed


def _unfold_brotli(data: bytes) -> Iterator[bytes]:
    brotli = _brotli()
    decompressor = brotli.Decompressor()
    try:
        while not decompressor.is_finished():
            part = decompressor.process(data, output_buffer_limit=_STEP_BYTES)
            data = b""
            if not part and decompressor.can_accept_more_data() and not decompressor.is_finished():
                raise EOFError
            yield part
    except brotli.error as error:
        raise ValueError(str(error)) from None


# Celery's "gzip" is a bare zlib stream, not a gzip file.
_METHODS: Final = (
    _Method("application/x-gzip", ("gzip", "zlib"), zlib.compress, _unfold_zlib),
    _Method("application/x-bz2", ("bzip2", "bzip", "bz2"), bz2.compress, _unfold_file_format(bz2.BZ2Decompressor)),
    _Method(
        "application/x-lzma",
        ("lzma", "xz"),
        lzma.compress,
        _unfold_file_format(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY_BYTES)),
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
    parts: list[bytes] = []
    size = 0
    try:
        for part in found.unfold(data):
            size += len(part)
            if size > limit_bytes:
                raise DecodeError(f"compressed data unfolds to more than {limit_bytes} bytes")
            parts.append(part)
    except ImproperlyConfigured as error:
        raise DecodeError(str(error)) from None
    except EOFError:
        raise DecodeError(f"broken {mime} data: it ends too early") from None
    except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        raise DecodeError(f"broken {mime} data: {error}") from None
    return b"".join(parts)
