"""Whatever arrives, a decoder either reads it or says `DecodeError`; nothing else comes out, nothing is executed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.message import Message
from celeriac.exceptions import DecodeError
from celeriac.wire import json_text, redis_envelope, result_meta, serializers, task_v1, task_v2
from tests.wire.strategies import quick, values

ACCEPT: Final = frozenset({"json", "msgpack"})


def read_body(data: bytes) -> object:
    return task_v2.decode_body(Message("q", {"id": "i", "task": "t"}, data), ACCEPT)


def read_body_v1(data: bytes) -> object:
    return task_v1.upgrade(Message("q", {}, data), ACCEPT)


def read_body_msgpack(data: bytes) -> object:
    return task_v2.decode_body(Message("q", {}, data, content_type="application/x-msgpack"), ACCEPT)


def read_compressed(data: bytes) -> object:
    headers = {"compression": "application/x-gzip"}
    return task_v2.decode_body(
        Message("q", headers, serializers.compress(data, "gzip")[1]), ACCEPT, max_bytes=1_000_000
    )


DECODERS: Final[list[Callable[[bytes], object]]] = [
    json_text.loads,
    lambda data: redis_envelope.decode(data, "q"),
    result_meta.decode,
    read_body,
    read_body_v1,
    read_body_msgpack,
    read_compressed,
]
NAMES: Final = ["json", "envelope", "result", "body", "body v1", "body msgpack", "body compressed"]

BAD: Final = {
    "empty": b"",
    "not json": b"not json",
    "null": b"null",
    "number": b"7",
    "one element": b"[[]]",
    "args text": b'["ab", {}, {}]',
    "args number": b"[7, {}, {}]",
    "kwargs list": b"[[], [], {}]",
    "embed text": b'[[], {}, "x"]',
    "callbacks text": b'[[], {}, {"callbacks": "x"}]',
    "chain junk": b'[[], {}, {"chain": [[[1]]]}]',
    "chord junk": b'[[], {}, {"chord": {"no": 1}}]',
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep in args": b"[[" + b"[" * 900 + b"]" * 900 + b"], {}, {}]",
    "deep and cut off": b"[" * 100_000,
    "deep by escapes": b'["\\"[[[[", ' * 20_000,
    "bad utf-8": b'[["\xff\xfe"], {}, {}]',
    "lone surrogate": b'[["\\ud800"], {}, {}]',
    "not a number": b"[[NaN, Infinity], {}, {}]",
    "long integer": b"[[" + b"9" * 20_000 + b"], {}, {}]",
    "long negative integer": b"[[-" + b"9" * 20_000 + b"], {}, {}]",
    "large exponent": b"[[1e999999999], {}, {}]",
    "own class keyword": b'[[], {"__class__": 1}, {}]',
    "eight megabytes": b'[["' + b"x" * 8_000_000 + b'"], {}, {}]',
    "unknown tag": b'[[{"__type__": "os.system", "__value__": "id"}], {}, {}]',
    "tag is a list": b'[[{"__type__": [], "__value__": 1}], {}, {}]',
    "tag is null": b'[[{"__type__": null, "__value__": 1}], {}, {}]',
    "bad datetime": b'[[{"__type__": "datetime", "__value__": "tomorrow"}], {}, {}]',
    "datetime number": b'[[{"__type__": "datetime", "__value__": 7}], {}, {}]',
    "datetime zone": b'[[{"__type__": "datetime", "__value__": "2026-01-01T00:00:00+99:99"}], {}, {}]',
    "bad date": b'[[{"__type__": "date", "__value__": "2026-13-01"}], {}, {}]',
    "bad time": b'[[{"__type__": "time", "__value__": "25:00"}], {}, {}]',
    "bad decimal": b'[[{"__type__": "decimal", "__value__": "one"}], {}, {}]',
    "decimal list": b'[[{"__type__": "decimal", "__value__": [0, [1], {}]}], {}, {}]',
    "bad uuid": b'[[{"__type__": "uuid", "__value__": {"hex": "xyz"}}], {}, {}]',
    "uuid text": b'[[{"__type__": "uuid", "__value__": "xyz"}], {}, {}]',
    "uuid other field": b'[[{"__type__": "uuid", "__value__": {"int": 7}}], {}, {}]',
    "bad base64": b'[[{"__type__": "base64", "__value__": "A"}], {}, {}]',
    "base64 beyond ascii": b'[[{"__type__": "base64", "__value__": "\\u00fc"}], {}, {}]',
    "bytes number": b'[[{"__type__": "bytes", "__value__": 7}], {}, {}]',
    "bytes surrogate": b'[[{"__type__": "bytes", "__value__": "\\ud800"}], {}, {}]',
    "pickle": b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.",
    "yaml": b"!!python/object/apply:os.system ['id']",
    "zlib": serializers.compress(bytes(10_000_000), "gzip")[1],
    "zeros": bytes(1000),
    "byte order mark": b"\xef\xbb\xbf[[], {}, {}]",
    "utf-16": "[[], {}, {}]".encode("utf-16"),
}


def read_or_refuse(decoder: Callable[[bytes], object], data: bytes) -> None:
    try:
        decoder(data)
    except DecodeError as error:
        reason = str(error)
    else:
        return
    assert 0 < len(reason) < 1000, "a reason is given, and does not quote the whole input"


@pytest.mark.parametrize("decoder", DECODERS, ids=NAMES)
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_read_or_refused(decoder: Callable[[bytes], object], name: str) -> None:
    read_or_refuse(decoder, BAD[name])


@pytest.mark.parametrize("decoder", DECODERS, ids=NAMES)
def test_random_bytes_are_read_or_refused(decoder: Callable[[bytes], object]) -> None:
    @given(st.binary(max_size=300))
    @quick(80)
    def check(data: bytes) -> None:
        read_or_refuse(decoder, data)

    check()


@pytest.mark.parametrize("decoder", DECODERS, ids=NAMES)
def test_random_json_is_read_or_refused(decoder: Callable[[bytes], object]) -> None:
    @given(values)
    @quick(60)
    def check(value: Any) -> None:
        read_or_refuse(decoder, json_text.dumps(value))

    check()


GOOD_ENVELOPE: Final = redis_envelope.encode(
    task_v2.encode(task_v2.Call(id="i", task="t", args=(1, "x"), headers={"h": [1]}), now=0, max_bytes=10_000), "tag"
)
GOOD_RESULT: Final = result_meta.encode(
    result_meta.ResultMeta(status="FAILURE", result=KeyError("x"), task_id="i"), max_bytes=9999
)


@pytest.mark.parametrize(
    ("decoder", "good"), [(DECODERS[1], GOOD_ENVELOPE), (DECODERS[2], GOOD_RESULT)], ids=NAMES[1:3]
)
def test_damaged_documents_are_read_or_refused(decoder: Callable[[bytes], object], good: bytes) -> None:
    @given(st.integers(0, len(good)), st.integers(0, 20), st.binary(max_size=6))
    @quick(300)
    def check(where: int, cut: int, put: bytes) -> None:
        read_or_refuse(decoder, good[:where] + put + good[where + cut :])

    check()


@pytest.mark.parametrize(
    ("decoder", "good"), [(DECODERS[1], GOOD_ENVELOPE), (DECODERS[2], GOOD_RESULT)], ids=NAMES[1:3]
)
def test_documents_with_one_part_replaced_are_read_or_refused(decoder: Callable[[bytes], object], good: bytes) -> None:
    whole = json.loads(good)

    def replaced(document: Any, path: tuple[str, ...], value: Any) -> Any:
        if not path:
            return value
        return {**document, path[0]: replaced(document[path[0]], path[1:], value)}

    paths: list[tuple[str, ...]] = [(name,) for name in whole]
    paths += [(name, part) for name in whole if isinstance(whole[name], dict) for part in whole[name]]
    odd: list[Any] = [None, True, 0, -1, 1.5, 2**70, "", "x" * 10_000, "../../x\r\nSET", [], [[]], {}, {"a": {}}]
    for path in paths:
        for value in odd:
            read_or_refuse(decoder, json.dumps(replaced(whole, path, value)).encode())
