"""The AMQP codec: what is written is read again, and bytes of any kind end in a value or an error, never in a hang."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from amqp.serialization import dumps as other_dumps
from amqp.serialization import loads as other_loads
from hypothesis import given
from hypothesis import strategies as st

from celeriac.transports.amqp.protocol.codec import MAX_DEPTH, decode_table, encode_table, entries, splice
from celeriac.transports.amqp.protocol.errors import CodecError
from celeriac.transports.amqp.protocol.properties import decode_properties, encode_properties, split_properties

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | TEXT
    | st.binary(max_size=50)
    | st.integers(0, 253_402_300_799).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
    | st.builds(lambda n, scale: Decimal(n).scaleb(-scale), st.integers(-(2**31) + 1, 2**31 - 1), st.integers(0, 28))
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))
TABLES = st.dictionaries(KEYS, VALUES, max_size=8)


@given(TABLES)
def test_tables_come_back_as_they_were(table: dict[str, Any]) -> None:
    assert decode_table(encode_table(table)) == table


@given(
    st.dictionaries(KEYS.filter(bool), TEXT | st.integers(-(2**31), 2**31 - 1) | st.none() | st.booleans(), max_size=8)
)
def test_tables_mean_the_same_to_another_client(table: dict[str, Any]) -> None:
    assert other_loads("F", encode_table(table), 0)[0][0] == table
    assert decode_table(other_dumps("F", [table])) == table


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_an_error(data: bytes) -> None:
    for candidate in (data, struct.pack(">I", len(data)) + data):
        try:
            table = decode_table(candidate)
        except CodecError:
            continue
        assert isinstance(table, dict)


@given(TABLES, st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_table_is_a_table_or_an_error(table: dict[str, Any], at: int, byte: int) -> None:
    data = bytearray(encode_table(table))
    data[at % len(data)] = byte
    try:
        decode_table(bytes(data))
    except CodecError:
        pass  # as it should be


@pytest.mark.parametrize("letter", [b"F", b"A"])
def test_deep_nesting_is_refused(letter: bytes) -> None:
    inner = b""
    for _ in range(MAX_DEPTH * 4):
        entry = (b"\x01k" if letter == b"F" else b"") + letter + struct.pack(">I", len(inner)) + inner
        inner = entry
    if letter == b"A":
        inner = b"\x01k" + inner
    with pytest.raises(CodecError, match="deeper"):
        decode_table(struct.pack(">I", len(inner)) + inner)
    value: Any = 1
    for _ in range(MAX_DEPTH * 4):
        value = {"k": value} if letter == b"F" else [value]
    with pytest.raises(CodecError, match="deeper"):
        encode_table({"k": value})


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, object(), "\ud800", Decimal("NaN"), Decimal(2**31), datetime(1950, 1, 1, tzinfo=UTC)]
)
def test_what_amqp_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises(CodecError):
        encode_table({"key": value})


def test_a_long_key_is_refused() -> None:
    with pytest.raises(CodecError, match="255"):
        encode_table({"k" * 256: 1})


def test_all_letters_of_rabbitmq_are_read() -> None:
    raw = b"".join(
        bytes((1,)) + name + value
        for name, value in {
            b"a": b"b\xff", b"b": b"B\xff", b"c": b"s\xff\xfe", b"d": b"u\xff\xfe", b"e": b"I\xff\xff\xff\xff",
            b"f": b"i\xff\xff\xff\xff", b"g": b"l" + b"\xff" * 8, b"h": b"L" + b"\xff" * 8,
            b"i": b"f" + struct.pack(">f", 0.5), b"j": b"d" + struct.pack(">d", 0.25), b"k": b"t\x01", b"l": b"V",
            b"m": b"T" + struct.pack(">Q", 2**60), b"n": b"S\x00\x00\x00\x01\xff", b"o": b"x\x00\x00\x00\x01\xff",
        }.items()
    )  # fmt: skip
    assert decode_table(struct.pack(">I", len(raw)) + raw) == {
        "a": -1, "b": 255, "c": -2, "d": 65534, "e": -1, "f": 2**32 - 1, "g": -1, "h": -1, "i": 0.5, "j": 0.25,
        "k": True, "l": None, "m": 2**60, "n": b"\xff", "o": b"\xff",
    }  # fmt: skip


@given(TABLES, st.dictionaries(KEYS, TEXT, max_size=3))
def test_splicing_changes_only_what_it_names(table: dict[str, Any], add: dict[str, str]) -> None:
    raw = encode_table(table)
    drop = frozenset(list(table)[:1])
    spliced = splice(raw, drop, add)
    assert decode_table(spliced) == {key: value for key, value in table.items() if key not in drop} | add
    before = dict(entries(raw))
    assert all(before[key] == entry for key, entry in entries(spliced) if key not in add)


def test_splicing_something_that_is_no_table_gives_what_is_added() -> None:
    assert decode_table(splice(b"\x00\x00\x00\x09junk", frozenset(), {"a": 1})) == {"a": 1}


def test_properties_come_back_as_they_were() -> None:
    values = {
        "content_type": "application/json", "content_encoding": "utf-8", "headers": {"a": 1}, "delivery_mode": 2,
        "priority": 255, "correlation_id": "größe", "reply_to": "r", "expiration": "60000", "message_id": "m",
        "timestamp": 1_700_000_000, "type": "t", "user_id": "guest", "app_id": "a", "cluster_id": "c",
    }  # fmt: skip
    raw = encode_properties(values | {"delivery_info": {}, "unknown": 1})
    assert decode_properties(raw) == values
    others, headers = split_properties(raw)
    assert others == {name: value for name, value in values.items() if name != "headers"}
    assert encode_properties(others, headers) == raw


@pytest.mark.parametrize(
    "wrong", [{"priority": 256}, {"delivery_mode": "2"}, {"timestamp": -1}, {"reply_to": "x" * 256}]
)
def test_properties_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CodecError):
        encode_properties(wrong)


@given(st.binary(max_size=200))
def test_any_bytes_are_properties_or_an_error(data: bytes) -> None:
    for read in (decode_properties, split_properties):
        try:
            read(data)
        except CodecError:
            pass  # as it should be
