"""Serializers by name and content type, and compression with its limit."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.exceptions import ContentDisallowed, DecodeError, EncodeError
from celeriac.wire import serializers
from tests.wire.strategies import quick

METHODS = ("gzip", "zlib", "bzip2", "bzip", "bz2", "lzma", "xz")
MIMES = ("application/x-gzip", "application/x-bz2", "application/x-lzma")


@pytest.mark.parametrize("accept", [{"json"}, ["application/json"], ("msgpack", "json")])
def test_a_content_type_is_accepted_by_name_or_mime_type(accept: Any) -> None:
    assert serializers.loads(b"[1]", "application/json", "utf-8", accept) == [1]


@pytest.mark.parametrize(
    "content_type",
    ["application/x-python-serialize", "application/x-yaml", "application/data", "text/plain", "", "x" * 10_000],
)
def test_what_is_not_accepted_is_refused(content_type: str) -> None:
    with pytest.raises(ContentDisallowed, match="accept_content allows: json") as caught:
        serializers.loads(b"\x80\x04.", content_type, "binary", ["json"])
    assert len(str(caught.value)) < 300


def test_what_is_accepted_but_unknown_is_refused() -> None:
    with pytest.raises(DecodeError, match="no serializer"):
        serializers.loads(b"x", "application/x-python-serialize", "binary", ["application/x-python-serialize"])


@pytest.mark.parametrize("encoding", ["utf-16", "rot13", "zlib_codec", "x" * 1000])
def test_an_unknown_content_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(DecodeError, match="content encoding"):
        serializers.loads(b"[1]", "application/json", encoding, ["json"])


def test_an_unknown_serializer_is_refused_with_the_choice() -> None:
    with pytest.raises(EncodeError, match="json, msgpack"):
        serializers.dumps([1], "pickle")


@pytest.mark.parametrize("value", [{1, 2}, datetime(2026, 1, 1, tzinfo=UTC), object(), [{"a": 1j}], {(1, 2): 3}, 2**64])
def test_messagepack_takes_plain_data_only(value: Any) -> None:
    with pytest.raises(EncodeError):
        serializers.dumps(value, "msgpack")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd\x00\x0d\xbb\xa0" * 900 + b"\xc0" * 900_000,
        b"\x91" * 100_000,
        b"\x91" * 65 + b"\xc0",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xd4\x05\x00",
        b"\xa1\xff",
        b"\x81\x91\x00\x01",
        b"\x81\x81\x00\x01\x01",
        b"\xc0\xc0",
    ],
)
def test_bad_messagepack_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        serializers.loads(data, "application/x-msgpack", "binary", ["msgpack"])


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


@pytest.mark.parametrize("method", ["gzip", "bzip2", "lzma"])
def test_one_byte_over_the_limit_is_refused(method: str) -> None:
    mime, compressed = serializers.compress(b"x" * 1001, method)
    assert len(serializers.decompress(compressed, mime, 1001)) == 1001
    with pytest.raises(DecodeError, match="more than 1000 bytes"):
        serializers.decompress(compressed, mime, 1000)


@pytest.mark.parametrize("method", ["gzip", "bzip2", "lzma"])
def test_a_bomb_is_stopped_at_the_limit(method: str) -> None:
    mime, bomb = serializers.compress(bytes(30_000_000), method)
    assert len(bomb) < 50_000
    with pytest.raises(DecodeError, match="more than 100 bytes"):
        serializers.decompress(bomb, mime, 100)


@pytest.mark.parametrize("mime", MIMES)
@pytest.mark.parametrize("data", [b"", b"no", bytes(100), gzip.compress(b"a gzip file is no zlib stream", mtime=0)])
def test_broken_data_are_refused(mime: str, data: bytes) -> None:
    with pytest.raises(DecodeError, match="broken"):
        serializers.decompress(data, mime, 1000)


@pytest.mark.parametrize("method", ["gzip", "bzip2", "lzma"])
def test_data_that_end_too_early_are_refused(method: str) -> None:
    mime, compressed = serializers.compress(b"text " * 100, method)
    with pytest.raises(DecodeError, match="broken"):
        serializers.decompress(compressed[:-3], mime, 1000)


def test_unknown_methods_are_refused_with_the_choice() -> None:
    with pytest.raises(EncodeError, match="gzip"):
        serializers.compress(b"", "brotli")
    with pytest.raises(DecodeError, match="gzip"):
        serializers.decompress(b"", "application/x-brotli", 10)
