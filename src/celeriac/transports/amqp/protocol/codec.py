"""Values and field tables, as RabbitMQ writes them.

RabbitMQ's letters differ from the specification's in places (`s` is a short integer, `l` a signed long); its own list is the
one that is followed: https://www.rabbitmq.com/amqp-0-9-1-errata#section_3
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from celeriac.transports.amqp.protocol.errors import CodecError

MAX_DEPTH: Final = 64
"""Tables and arrays inside each other; the decoder recurses."""

_U32 = struct.Struct(">I")
_read_u32 = _U32.unpack_from
_read_i32 = struct.Struct(">i").unpack_from
_write_u32 = _U32.pack

_TRUE, _FALSE, _VOID = b"t\x01", b"t\x00", b"V"
_LONG_STRING = struct.Struct(">cI").pack
_INT32 = struct.Struct(">ci").pack
_INT64 = struct.Struct(">cq").pack
_DOUBLE = struct.Struct(">cd").pack
_TIMESTAMP = struct.Struct(">cQ").pack
_DECIMAL = struct.Struct(">cBi").pack

_FIXED: Final[dict[int, tuple[int, Callable[[bytes, int], tuple[Any, ...]]]]] = {
    ord(letter): (struct.calcsize(layout), struct.Struct(layout).unpack_from)
    for letter, layout in {
        "b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">q", "f": ">f", "d": ">d",
    }.items()
}  # fmt: skip

_S, _V, _INT, _T_BOOL, _F, _A, _X, _TIME, _DEC = (ord(letter) for letter in "SVItFAxTD")


# -- writing ----------------------------------------------------------------------------------------------------------


def short_text(text: str) -> bytes:
    """Write text of at most 255 bytes with its length before it."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except (UnicodeEncodeError, AttributeError):
        raise CodecError(f"{text!r:.80} is no text that AMQP can carry") from None
    if len(data) > 255:
        raise CodecError(f"{text[:40]!r}... has {len(data)} bytes; AMQP allows 255 for names and keys")
    return bytes((len(data),)) + data


short_string = lru_cache(maxsize=4096)(short_text)
"""The same for names, which come again and again."""


def long_string(data: bytes) -> bytes:
    """Write bytes with their length before them."""
    return _write_u32(len(data)) + data


def encode_table(table: Mapping[str, Any], depth: int = 0) -> bytes:
    """Write a field table, its length before it.

    Raises `CodecError` for values that have no AMQP form, integers over 64 bits and tables nested deeper than `MAX_DEPTH`.
    """
    parts: list[bytes] = []
    for key, value in table.items():
        parts.append(short_string(key))
        if type(value) is str:  # the commonest first
            data = _utf8(value)
            parts.append(_LONG_STRING(b"S", len(data)))
            parts.append(data)
        elif value is None:
            parts.append(_VOID)
        else:
            _write_value(parts, value, depth)
    data = b"".join(parts)
    return _write_u32(len(data)) + data


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise CodecError(f"{text[:40]!r} is no text that UTF-8 can carry") from None


def _write_value(parts: list[bytes], value: Any, depth: int) -> None:
    match value:
        case str():
            data = _utf8(value)
            parts += (_LONG_STRING(b"S", len(data)), data)
        case None:
            parts.append(_VOID)
        case bool():
            parts.append(_TRUE if value else _FALSE)
        case int():
            if -(2**31) <= value < 2**31:
                parts.append(_INT32(b"I", value))
            elif -(2**63) <= value < 2**63:
                parts.append(_INT64(b"l", value))
            else:
                raise CodecError(f"an integer of {value.bit_length()} bits: AMQP has 64")
        case float():
            parts.append(_DOUBLE(b"d", value))
        case bytes() | bytearray() | memoryview():
            data = bytes(value)
            parts += (_LONG_STRING(b"x", len(data)), data)
        case Mapping() | list() | tuple():
            if depth >= MAX_DEPTH:
                raise CodecError(f"headers nested deeper than {MAX_DEPTH}")
            if isinstance(value, Mapping):
                parts += (b"F", encode_table(value, depth + 1))
            else:
                inner: list[bytes] = []
                for item in value:
                    _write_value(inner, item, depth + 1)
                parts += (b"A", long_string(b"".join(inner)))
        case datetime():
            moment = value if value.tzinfo else value.replace(tzinfo=UTC)
            seconds = int(moment.timestamp())
            if seconds < 0:
                raise CodecError(f"{value!r}: AMQP has no times before 1970")
            parts.append(_TIMESTAMP(b"T", seconds))
        case Decimal():
            parts.append(_decimal(value))
        case _:
            raise CodecError(f"a value of type {type(value).__name__} has no AMQP form")


def _decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise CodecError(f"{value} has no AMQP form")
    scale = max(0, -exponent)
    number = int("".join(map(str, digits))) * 10 ** max(0, exponent) if exponent <= 10 else 2**31
    if scale > 255 or number >= 2**31:
        raise CodecError(f"{value} does not fit AMQP's decimal (31 bits)")
    return _DECIMAL(b"D", scale, -number if sign else number)


# -- reading ----------------------------------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    # Not all brokers' clients keep to UTF-8 in names; a name must not make a message unreadable.
    return data.decode("utf-8", "surrogateescape")


_name = lru_cache(maxsize=4096)(_text)


def read_short_string(data: bytes, position: int) -> tuple[str, int]:
    """Return the short string at `position`, a name that comes again and again, and the position after it."""
    end = position + 1 + data[position]
    if end > len(data):
        raise CodecError("a short string ends before its length")
    return _name(data[position + 1 : end]), end


def read_short_text(data: bytes, position: int) -> tuple[str, int]:
    """As `read_short_string`, for a text that is another one each time: it would drive names out of what is remembered."""
    end = position + 1 + data[position]
    if end > len(data):
        raise CodecError("a short string ends before its length")
    return _text(data[position + 1 : end]), end


@lru_cache(maxsize=4096)
def read_route(data: bytes) -> tuple[str, str]:
    """Return the exchange and the routing key in these bytes."""
    exchange, position = read_short_string(data, 0)
    return exchange, read_short_string(data, position)[0]


def read_long_string(data: bytes, position: int) -> tuple[bytes, int]:
    """Return the bytes of the long string at `position` and the position after it."""
    end = position + 4 + _read_u32(data, position)[0]
    if end > len(data):
        raise CodecError("a long string ends before its length")
    return data[position + 4 : end], end


def decode_table(data: bytes) -> dict[str, Any]:
    """Read a whole field table (with its length before it); text that is no UTF-8 comes as bytes.

    Raises `CodecError` for anything that is not exactly one table.
    """
    try:
        table, end = read_table(data, 0)
    except (IndexError, struct.error) as error:
        raise CodecError(f"broken field table: {error}") from None
    if end != len(data):
        raise CodecError("bytes left after a field table")
    return table


def read_table(data: bytes, position: int, depth: int = 0) -> tuple[dict[str, Any], int]:
    """Return the table at `position` and the position after it."""
    end = position + 4 + _read_u32(data, position)[0]
    if end > len(data):
        raise CodecError("a field table ends before its length")
    position += 4
    table: dict[str, Any] = {}
    while position < end:
        after = position + 1 + data[position]
        key = _name(data[position + 1 : after])
        letter = data[after]
        if letter == _S:  # the commonest first
            position = after + 5 + _read_u32(data, after + 1)[0]
            text = data[after + 5 : position]
            try:
                table[key] = text.decode()
            except UnicodeDecodeError:
                table[key] = text
        elif letter == _INT:
            table[key], position = _read_i32(data, after + 1)[0], after + 5
        elif letter == _T_BOOL:
            table[key], position = data[after + 1] != 0, after + 2
        elif letter == _V:
            table[key], position = None, after + 1
        else:
            table[key], position = _read_value(letter, data, after + 1, depth)
    if position != end:
        raise CodecError("a value reaches over the end of its table")
    return table, end


def entries(table: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and raw bytes (name, letter and value) of each entry of an encoded table."""
    end = 4 + _read_u32(table, 0)[0]
    position = 4
    while position < end:
        start = position
        name, position = read_short_string(table, position)
        _, position = _read_value(table[position], table, position + 1, 0)
        yield name, table[start:position]
    if position != end or end != len(table):
        raise CodecError("a value reaches over the end of its table")


def splice(table: bytes, drop: frozenset[str], add: Mapping[str, Any]) -> bytes:
    """Return an encoded table without the entries `drop` and with those of `add`; what stays, stays to the byte."""
    try:
        kept = b"".join(raw for name, raw in entries(table) if name not in drop and name not in add)
    except (IndexError, struct.error, CodecError):
        kept = b""  # no table at all: there is nothing that could be kept
    return long_string(kept + encode_table(add)[4:])


def _read_value(letter: int, data: bytes, position: int, depth: int) -> tuple[Any, int]:
    fixed = _FIXED.get(letter)
    if fixed is not None:
        size, unpack = fixed
        return unpack(data, position)[0], position + size
    if letter in (_S, _X):
        raw, position = read_long_string(data, position)
        if letter == _X:
            return raw, position
        try:
            return raw.decode(), position
        except UnicodeDecodeError:
            return raw, position
    if letter == _T_BOOL:
        return data[position] != 0, position + 1
    if letter == _V:
        return None, position
    if letter in (_F, _A):
        if depth >= MAX_DEPTH:
            raise CodecError(f"headers nested deeper than {MAX_DEPTH}")
        return read_table(data, position, depth + 1) if letter == _F else _read_array(data, position, depth + 1)
    if letter == _TIME:
        seconds: int = struct.unpack_from(">Q", data, position)[0]
        # Beyond the year 9999 the bare number is kept: odd, but no reason to refuse a message.
        moment = datetime.fromtimestamp(seconds, UTC) if seconds < 253_402_300_800 else seconds
        return moment, position + 8
    if letter == _DEC:
        scale, number = struct.unpack_from(">Bi", data, position)
        return Decimal(number).scaleb(-scale), position + 5
    raise CodecError(f"unknown value type {chr(letter)!r}")


def _read_array(data: bytes, position: int, depth: int) -> tuple[list[Any], int]:
    end = position + 4 + _read_u32(data, position)[0]
    if end > len(data):
        raise CodecError("an array ends before its length")
    position += 4
    items: list[Any] = []
    while position < end:
        value, position = _read_value(data[position], data, position + 1, depth)
        items.append(value)
    if position != end:
        raise CodecError("a value reaches over the end of its array")
    return items, end
