"""Compression: the methods, their names, and the limit on what data unfold to."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from celeriac.exceptions import DecodeError, EncodeError, ImproperlyConfigured
from celeriac.wire import compression, serializers
from tests.wire.strategies import quick

METHODS = ("gzip", "zlib", "bzip2", "bzip", "bz2", "lzma", "xz", "zstd", "zstandard", "brotli")
ONE_OF_EACH = ("gzip", "bzip2", "lzma", "zstd", "brotli")
MIMES = ("application/x-gzip", "application/x-bz2", "application/x-lzma", "application/zstd", "application/x-brotli")


@given(st.binary(max_size=2000), st.sampled_from(METHODS))
@quick(60)
def test_compressed_data_come_back(data: bytes, method: str) -> None:
    mime, compressed = serializers.compress(data, method)
    assert mime in MIMES
    assert serializers.decompress(compressed, mime, len(data)) == data


def test_the_bytes_are_celerys() -> None:
    data = b"text " * 100
    assert serializers.compress(data, "gzip") == ("application/x-gzip", zlib.compress(data))
    assert serializers.compress(data, "bzip2") == ("application/x-bz2", bz2.compress(data))
    assert serializers.compress(data, "lzma") == ("application/x-lzma", lzma.compress(data))
    assert serializers.compress(data, "brotli") == ("application/x-brotli", brotli.compress(data))
    assert zstandard.decompress(serializers.compress(data, "zstd")[1]) == data


@pytest.mark.parametrize("method", ONE_OF_EACH)
def test_one_byte_over_the_limit_is_refused(method: str) -> None:
    mime, compressed = serializers.compress(b"x" * 1001, method)
    assert len(serializers.decompress(compressed, mime, 1001)) == 1001
    with pytest.raises(DecodeError, match="more than 1000 bytes"):
        serializers.decompress(compressed, mime, 1000)


@pytest.mark.parametrize("method", ONE_OF_EACH)
def test_a_bomb_is_stopped_at_the_limit(method: str) -> None:
    mime, bomb = serializers.compress(bytes(10_000_000), method)
    assert len(bomb) < 50_000
    with pytest.raises(DecodeError, match="more than 100 bytes"):
        serializers.decompress(bomb, mime, 100)


@pytest.mark.parametrize("mime", MIMES)
@pytest.mark.parametrize("data", [b"", b"no", bytes(100), gzip.compress(b"a gzip file is no zlib stream", mtime=0)])
def test_broken_data_are_refused(mime: str, data: bytes) -> None:
    with pytest.raises(DecodeError, match="broken"):
        serializers.decompress(data, mime, 1000)


@pytest.mark.parametrize("method", ONE_OF_EACH)
def test_data_that_end_too_early_are_refused(method: str) -> None:
    mime, compressed = serializers.compress(b"text " * 100, method)
    with pytest.raises(DecodeError, match="broken"):
        serializers.decompress(compressed[:-3], mime, 1000)


def test_unknown_methods_are_refused_with_the_choice() -> None:
    with pytest.raises(EncodeError, match=r"choose one of .*gzip"):
        serializers.compress(b"", "snappy")
    with pytest.raises(EncodeError, match="did you mean 'gzip'"):
        serializers.compress(b"", "gzp")
    with pytest.raises(DecodeError, match="gzip"):
        serializers.decompress(b"", "application/x-snappy", 10)


@pytest.mark.parametrize(
    ("method", "package", "extra"), [("zstd", "zstandard", "zstd"), ("brotli", "brotli", "brotli")]
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, method: str, package: str, extra: str) -> None:
    mime, data = serializers.compress(b"x", method)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImproperlyConfigured, match=rf"pip install 'celeriac\[{extra}\]'"):
        compression.check_method(method)
    with pytest.raises(DecodeError, match="pip install"):
        serializers.decompress(data, mime, 10)


def test_what_other_writers_compress_is_read() -> None:
    data = bytes(range(256)) * 3000
    streamed = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    assert serializers.decompress(streamed.compress(data) + streamed.flush(), "application/zstd", len(data)) == data
    assert serializers.decompress(brotli.compress(data, quality=1), "application/x-brotli", len(data)) == data
