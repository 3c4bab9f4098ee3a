"""Real documents with damage: what a fuzzer feeds to decoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

INPUT_MAX_BYTES: Final = 20_000

TOKENS: Final = (
    b"", b"\x00", b"\xff", b"\xed\xa0\x80", b"\\ud800", b'"', b"'", b"\\", b"[", b"]", b"{", b"}", b",", b":", b"[[[[[[[[", b"null",
    b"true", b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 5000, b"9" * 40, b"18446744073709551616", b"[]", b"{}", b'""', b'"x"',
    b'{"__type__": "datetime", "__value__": "9999-12-31T23:59:59.999999+23:59"}', b'{"__type__": "decimal", "__value__": "1E+999999"}',
    b'{"__type__": "uuid", "__value__": {"hex": "a"}}', b'{"__type__": "os.system", "__value__": "id"}', b'"__type__"', b'"__value__"',
    b"!!python/object/apply:os.system ['id']", b"&a [*a, *a]", b"*a", b"<<: *a", b"? ", b"- ", b"%YAML 9.9\n--- ", b"2001-99-99", b"0x" + b"f" * 5000,
    b"cos\nsystem\n(S'id'\ntR.", b"\x80\x04\x95", b"\x00celery-compressed\x00application/x-gzip\x00", b"\x00\x01", b"celeriac-hmac-1 ",
    b"../../x\r\nSET a b\r\n", b"redis.call('FLUSHALL')", b"\x1b[31m", b"\xe2\x80\xae", b"exc_module", b"exc_type", b'"os"', b'"system"',
    b"\xce", b"\x01\x00\x01\x00\x00\x00\x04", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\x00\x00\x00", b"F\x00\x00\x00\x08", b"A\x00\x00\x00\x05",
    b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xd4\xff\x00", b"\xc7\x0c\xff", b"\x91" * 300,
)  # fmt: skip
"""What has broken decoders before, in all the forms that are read here."""

_FRACTION = st.integers(0, 10_000)
_CHANGE = st.tuples(
    st.sampled_from(("insert", "replace", "cut", "repeat", "flip", "swap")),
    _FRACTION,
    st.integers(0, 40),
    st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8)),
)


def damaged(corpus: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Documents of the corpus with up to six changes, at times two of them joined; now and then bytes of no kind at all."""
    document = st.sampled_from(list(corpus))
    changed = st.builds(_changed, document, st.lists(_CHANGE, max_size=6))
    joined = st.builds(_joined, document, document, _FRACTION, _FRACTION)
    return st.one_of(changed, changed, changed, joined, st.binary(max_size=200))


def _changed(document: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, fraction, length, token in changes:
        at = fraction * len(document) // 10_000
        piece = document[at : at + length]
        match kind:
            case "insert":
                document = document[:at] + token + document[at:]
            case "replace":
                document = document[:at] + token + document[at + length :]
            case "cut":
                document = document[:at] + document[at + length :]
            case "repeat":
                document = document[:at] + piece * 20 + document[at:]
            case "flip":
                document = (
                    document[:at]
                    + bytes(byte ^ (1 << (length % 8)) for byte in document[at : at + 1])
                    + document[at + 1 :]
                )
            case _:
                document = document[at:] + document[:at]
        document = document[:INPUT_MAX_BYTES]
    return document


def _joined(first: bytes, second: bytes, first_end: int, second_start: int) -> bytes:
    return first[: first_end * len(first) // 10_000] + second[second_start * len(second) // 10_000 :]
