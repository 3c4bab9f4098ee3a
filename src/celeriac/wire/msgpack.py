"""MessagePack as Celery writes and reads it: plain data only, no extension types."""

from __future__ import annotations

from typing import Any, Final, NoReturn

import msgspec

from celeriac.exceptions import DecodeError, EncodeError
from celeriac.wire.json_text import MAX_DEPTH
from celeriac.wire.short_repr import short_repr

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})


def dumps(value: Any) -> bytes:
    """Write `value` as MessagePack.

    Raises `EncodeError` that names the place of the first part which is no plain data, or is nested too deeply.
    """
    # msgspec alone would silently turn sets, dates and data classes into something else.
    if not _is_plain(value, MAX_DEPTH):
        raise EncodeError(_problem(value, "", MAX_DEPTH))
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise EncodeError(f"cannot be written as MessagePack: {error}") from None


def loads(data: bytes) -> Any:
    """Read MessagePack. Raises `DecodeError` for anything else, for nesting beyond `MAX_DEPTH` and for extension types."""
    try:
        value = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise DecodeError(f"no valid MessagePack: {error}") from None
    if not _is_plain(value, MAX_DEPTH):
        raise DecodeError(f"MessagePack: {_problem(value, '', MAX_DEPTH)}")
    return value


def exceeds_containers(data: bytes, limit: int) -> bool:
    """Tell whether MessagePack has more lists and objects than `limit`: each is one byte there, and sixty in memory."""
    # The same bytes may be a part of a text: few of them settle it, many have to be looked at.
    if len(data) - len(data.translate(None, _HEADS)) <= limit:
        return False
    found = position = 0
    while position < len(data) and found <= limit:
        head = data[position]
        position += 1
        if head in _HEADS:
            found += 1
            position += _LENGTHS.get(head, 0)
        elif 0xA0 <= head <= 0xBF:
            position += head & 0x1F
        elif (width := _SIZED.get(head)) is not None:
            extra = 1 if head >= 0xC7 and head <= 0xC9 else 0
            position += width + extra + int.from_bytes(data[position : position + width], "big")
        else:
            position += _WIDTHS.get(head, 0)
    return found > limit


_HEADS: Final = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))
"""First bytes of lists and objects; others than these of what has a length written before it, and of what has a width."""
_LENGTHS: Final = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
_SIZED: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_WIDTHS: Final = {
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17
}  # fmt: skip


def _is_plain(value: Any, levels: int) -> bool:
    """Tell whether it is plain data of at most so many levels.

    Without the places of the parts: to write down the place of each would take hours for many parts under a long key.
    """
    if type(value) in _SCALARS:
        return True
    if levels == 0:
        return False
    if isinstance(value, dict):
        return all(type(key) in _SCALARS for key in value) and all(
            _is_plain(part, levels - 1) for part in value.values()
        )
    return isinstance(value, list | tuple) and all(_is_plain(part, levels - 1) for part in value)


def _problem(value: Any, path: str, levels: int) -> str:
    """Return what is wrong with a value that is not plain, and where."""
    if levels == 0:
        return f"the value is nested more than {MAX_DEPTH} levels deep"
    if isinstance(value, dict):
        for key, part in value.items():
            if type(key) not in _SCALARS:
                return f"a key{_at(path)} is a {type(key).__qualname__}, which is no plain data"
            if not _is_plain(part, levels - 1):
                return _problem(part, f"{path}[{short_repr(key, 40)}]", levels - 1)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            if not _is_plain(part, levels - 1):
                return _problem(part, f"{path}[{index}]", levels - 1)
    return f"a {type(value).__qualname__}{_at(path)} is no plain data"


def _at(path: str) -> str:
    return f" at {path}" if path else ""


def _refuse_extension(code: int, _data: memoryview) -> NoReturn:
    raise ValueError(f"unknown extension type {code}")


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(ext_hook=_refuse_extension)
