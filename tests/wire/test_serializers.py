"""Serializers by name and content type: what each takes, and what is refused."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

import pytest
import yaml
from hypothesis import given
from kombu import serialization as kombu_serialization
from kombu.utils import json as kombu_json

from celeriac import serialization
from celeriac.core.message import Message
from celeriac.exceptions import ContentDisallowed, DecodeError, EncodeError
from celeriac.security import disable_untrusted_serializers
from celeriac.wire import json_text, serializers, task_v1, task_v2, yaml_text
from tests.wire.strategies import quick, values

YAML = ("application/x-yaml", "utf-8", ["yaml"])
PICKLE = ("application/x-python-serialize", "binary", ["pickle"])


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
        serializers.loads(b"x", "application/x-nonsense", "binary", ["application/x-nonsense"])


@pytest.mark.parametrize("encoding", ["utf-16", "rot13", "zlib_codec", "x" * 1000])
def test_an_unknown_content_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(DecodeError, match="content encoding"):
        serializers.loads(b"[1]", "application/json", encoding, ["json"])


def test_an_unknown_serializer_is_refused_with_the_choice() -> None:
    with pytest.raises(EncodeError, match="choose one of json, msgpack, yaml, pickle, auth, hmac"):
        serializers.dumps([1], "xml")
    with pytest.raises(EncodeError, match="did you mean 'pickle'"):
        serializers.dumps([1], "pikle")


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
        b"\x91" * 257 + b"\xc0",
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


def test_messagepack_with_many_parts_under_a_long_key_takes_linear_time() -> None:
    value = {"k" * 500_000: [0] * 500_000}  # the place of each part, written down: hours
    assert (
        serializers.loads(serializers.dumps(value, "msgpack").data, "application/x-msgpack", "binary", ["msgpack"])
        == value
    )


def test_messagepack_names_the_place_of_what_it_cannot_write() -> None:
    with pytest.raises(EncodeError, match=r"a set at \['b'\]\[1\] is no plain data"):
        serializers.dumps({"a": [1], "b": [2, {3}]}, "msgpack")


# -- YAML -------------------------------------------------------------------------------------------------------------

PLAIN = {"a": [1, 2.5, None, True, "x\n  y"], "d": date(2026, 1, 2), "b": b"\xff", "n": {"deep": [{}, []]}}


def test_yaml_is_kombus() -> None:
    content_type, encoding, data = serializers.dumps(PLAIN, "yaml")
    theirs = kombu_serialization.dumps(PLAIN, serializer="yaml")
    assert (content_type, encoding) == theirs[:2] == YAML[:2]
    assert yaml.safe_load(data) == PLAIN
    assert serializers.loads(theirs[2].encode(), *YAML) == PLAIN
    # Tuples, as in every body, are lists.
    assert serializers.loads(serializers.dumps(([1], {}, (2,)), "yaml").data, *YAML) == [[1], {}, [2]]


def test_a_value_that_stands_twice_is_written_and_read() -> None:
    twice = [1, 2]
    assert serializers.loads(serializers.dumps([twice, twice], "yaml").data, *YAML) == [twice, twice]


@pytest.mark.parametrize(
    "value", [object(), 1j, Fraction(1, 3), [[[]] * 2, {"x": object}], __import__("enum").Enum("E", "A").A]
)
def test_yaml_takes_plain_data_only(value: Any) -> None:
    with pytest.raises(EncodeError):
        serializers.dumps(value, "yaml")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_yaml_has_the_depth_of_json() -> None:
    assert serializers.loads(serializers.dumps(nested(json_text.MAX_DEPTH), "yaml").data, *YAML)
    with pytest.raises(EncodeError, match="256 levels"):
        serializers.dumps(nested(json_text.MAX_DEPTH + 1), "yaml")
    with pytest.raises(EncodeError):
        serializers.dumps(nested(100_000), "yaml")


LAUGHS = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + level, 98 + level, b", ".join([b"*%c" % (97 + level)] * 9)) for level in range(9)
)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (LAUGHS, "more than 1000000 values"),
        (b"a: &a {x: 1}\nb: &b {<<: [*a, *a]}\nc: &c [*b]", None),
        (b"&a [*a]", "refers to itself"),
        (b"&a {x: [1, *a]}", "refers to itself"),
        (b"[" * 257 + b"]" * 257, "256 levels"),
        (b"[" * 200_000, "256 levels"),
        (b"- " * 100_000, "256 levels"),
        (b"1" * 5000, "4300 digits"),
        (b"-0x" + b"f" * 5000, "4300 digits"),
        (b"0b" + b"1" * 5000, "4300 digits"),
        (b"1" + b":59" * 100_000, "4300 digits"),
        (b"1" + b":59" * 100_000 + b".5", "4300 digits"),
        (b"!!int '" + b"1:" * 100_000 + b"1'", "4300 digits"),
        (b"!!python/object/apply:os.system ['true']", "no valid YAML"),
        (b"!!python/name:os.system", "no valid YAML"),
        (b"!own x", "no valid YAML"),
        (b"a: b: c", "no valid YAML"),
        (b"\xff\xfe\x00", "no valid YAML"),
        (b"2026-99-99", "no valid YAML"),
        (b"--- 1\n--- 2", "no valid YAML"),
        (b"{[]: 1}", "no valid YAML"),
        (b"*unknown", "what is not there"),
    ],
)
def test_bad_yaml_is_refused(data: bytes, text: str | None) -> None:
    if text is None:
        assert serializers.loads(data, *YAML)
        return
    with pytest.raises(DecodeError, match=text):
        serializers.loads(data, *YAML)


def test_long_text_is_no_number() -> None:
    assert serializers.loads(b"'" + b"1" * 5000 + b"'", *YAML) == "1" * 5000
    assert yaml_text.loads(b"x" * 5000) == "x" * 5000


# -- pickle -----------------------------------------------------------------------------------------------------------


class Touches:
    """Leaves a trace when it is read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_pickle_is_read_only_when_it_is_accepted(tmp_path: Any) -> None:
    trace = tmp_path / "trace"
    data = pickle.dumps(Touches(str(trace)))
    for accept in (["json"], ["json", "msgpack", "yaml"], [], ["application/json"]):
        with pytest.raises(ContentDisallowed):
            serializers.loads(data, "application/x-python-serialize", "binary", accept)
    assert not trace.exists()
    serializers.loads(data, *PICKLE)
    assert trace.exists()


def test_pickle_carries_what_json_cannot() -> None:
    value = {"s": {1, 2}, "f": Fraction(1, 3), (1, 2): 1j}
    content_type, encoding, data = serializers.dumps(value, "pickle")
    assert (content_type, encoding) == PICKLE[:2]
    assert data == kombu_serialization.dumps(value, serializer="pickle")[2]
    assert serializers.loads(data, *PICKLE) == value


@pytest.mark.parametrize("data", [b"", b"\x80", b"no pickle", b"cno_such_module\nx\n.", b"cos\nsystem\n(tR."])
def test_bad_pickle_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="no valid pickle"):
        serializers.loads(data, *PICKLE)


def test_what_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(EncodeError, match="cannot be pickled"):
        serializers.dumps(lambda: None, "pickle")


def test_celerys_errors_are_read_without_celery() -> None:
    data = b"\x80\x04\x8c\x11celery.exceptions\x8c\x05Retry\x93)R."
    assert type(serializers.loads(data, *PICKLE)).__module__ == "celeriac.exceptions"


# -- types and serializers of a program's own ---------------------------------------------------------------------------


@pytest.fixture
def _own_type() -> Iterator[None]:
    serialization.register_type(Fraction, "fraction", str, Fraction)
    yield
    json_text._own_types.clear()
    del json_text._readers["fraction"]


@pytest.mark.usefixtures("_own_type")
def test_a_registered_type_travels_in_json() -> None:
    content_type, encoding, data = serializers.dumps([Fraction(1, 3), date(2026, 1, 2)], "json")
    kombu_json.register_type(Fraction, "fraction", str, Fraction)
    assert kombu_json.loads(data) == [Fraction(1, 3), date(2026, 1, 2)]
    assert kombu_json.dumps(Fraction(1, 3)).encode() in data
    assert serializers.loads(data, content_type, encoding, ["json"]) == [Fraction(1, 3), date(2026, 1, 2)]
    with pytest.raises(DecodeError, match="fraction cannot be read"):
        json_text.loads(b'{"__type__": "fraction", "__value__": "x/0"}')


@pytest.mark.usefixtures("_own_type")
def test_a_type_without_a_tag_is_plain_data() -> None:
    serialization.register_type(complex, None, lambda value: [value.real, value.imag])
    assert json_text.loads(json_text.dumps(1j)) == [0.0, 1.0]


@pytest.fixture
def _own_serializer() -> Iterator[None]:
    serialization.register(
        "reversed", lambda value: str(value)[::-1], lambda data: data.decode()[::-1], "text/reversed"
    )
    yield
    serialization.unregister("reversed")


@pytest.mark.usefixtures("_own_serializer")
def test_a_registered_serializer() -> None:
    assert serializers.dumps("abc", "reversed") == ("text/reversed", "utf-8", b"cba")
    assert serializers.loads(b"cba", "text/reversed", "utf-8", ["reversed"]) == "abc"
    with pytest.raises(ContentDisallowed):
        serializers.loads(b"cba", "text/reversed", "utf-8", ["json"])
    with pytest.raises(DecodeError, match="UnicodeDecodeError"):
        serializers.loads(b"\xff", "text/reversed", "utf-8", ["text/reversed"])
    assert serialization.dumps("abc", "reversed") == ("text/reversed", "utf-8", "cba")


def test_a_registered_serializer_may_stand_before_a_built_in_one() -> None:
    serialization.register("json", lambda value: "own", lambda data: "own", "application/json")
    try:
        assert serializers.dumps(1, "json").data == b"own"
        assert serializers.loads(b"1", "application/json", "utf-8", ["json"]) == "own"
    finally:
        serialization.unregister("json")
    assert serializers.dumps(1, "json").data == b"1"
    with pytest.raises(EncodeError, match="unknown serializer 'jsonn': did you mean 'json'"):
        serialization.unregister("jsonn")
    with pytest.raises(ValueError, match="are taken"):
        serialization.register("hmac", str, str, "text/x")


def test_one_way_serializers() -> None:
    serialization.register("write-only", str, None, "text/w")
    serialization.register("read-only", None, str, "text/r")
    try:
        with pytest.raises(DecodeError, match="no serializer"):
            serializers.loads(b"1", "text/w", "utf-8", ["write-only"])
        with pytest.raises(EncodeError, match="without an encoder"):
            serializers.dumps(1, "read-only")
    finally:
        serialization.unregister("write-only")
        serialization.unregister("read-only")


@given(values)
@quick(30)
def test_dumps_and_loads_are_kombus(value: Any) -> None:
    ours, theirs = serialization.dumps(value, "json"), kombu_serialization.dumps(value, "json")
    assert ours == theirs
    assert serialization.loads(*ours[:0], ours[2], ours[0], ours[1]) == kombu_serialization.loads(ours[2], *ours[:2])


@pytest.mark.parametrize("value", ["text", b"\xff"])
def test_text_and_bytes_stay_as_they_are(value: Any) -> None:
    content_type, encoding, data = serialization.dumps(value)
    assert (content_type, encoding, data) == kombu_serialization.dumps(value)
    assert serialization.loads(data, content_type, encoding) == value


def test_what_is_insecure_has_to_be_enabled() -> None:
    content_type, encoding, data = serialization.dumps([1], "msgpack")
    with pytest.raises(ContentDisallowed):
        serialization.loads(data, content_type, encoding)
    assert serialization.loads(data, content_type, encoding, force=True) == [1]
    assert serialization.loads(data, content_type, encoding, accept=["msgpack"]) == [1]
    serialization.enable_insecure_serializers(["msgpack"])
    try:
        assert serialization.loads(data, content_type, encoding) == [1]
    finally:
        disable_untrusted_serializers(["json"])
    with pytest.raises(ContentDisallowed):
        serialization.loads(data, content_type, encoding)


@pytest.mark.parametrize(
    ("content_type", "accept", "opens"),
    [
        ("application/x-yaml", ["yaml"], True),
        ("application/x-msgpack", ["msgpack"], True),
        ("application/x-python-serialize", ["pickle"], False),
        ("application/x-python-serialize", ["json"], False),
        ("application/data", ["auth"], False),
    ],
)
def test_protocol_1_is_plain_data_in_its_own_form(content_type: str, accept: list[str], opens: bool) -> None:
    said = {"task": "t", "id": "i", "args": [1], "kwargs": {}}
    data = serializers.dumps(said, content_type).data if content_type != "application/data" else b"x"
    old = Message("q", {}, data, content_type=content_type)
    if not opens:
        with pytest.raises(ContentDisallowed):
            task_v1.upgrade(old, accept)
        return
    assert task_v2.decode_body(task_v1.upgrade(old, accept), accept)[0] == [1]
