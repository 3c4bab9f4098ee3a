"""MessagePack as Celery writes and reads it: plain data only, no extension types."""

from __future__ import annotations

from typing import Any, Final, NoReturn

import msgspec

from celeriac.exceptions import DecodeError, EncodeError
from celeriac.wire.json_text import MAX_DEPTH

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})


def dumps(value: Any) -> bytes:
    """Write `value` as MessagePack.

    Raises `EncodeError` that names the place of the first part which is no plain data, or is nested too deeply.
    """
    # msgspec alone would silently turn sets, dates and data classes into something else.
    _check(value, "", MAX_DEPTH)
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
    try:
        _check(value, "", MAX_DEPTH)
    except EncodeError as error:
        raise DecodeError(f"MessagePack: {error}") from None
    return value


def _check(value: Any, path: str, levels: int) -> None:
    if type(value) in _SCALARS:
        return
    if levels == 0:
        raise EncodeError(f"the value is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key, part in value.items():
            if type(key) not in _SCALARS:
                raise EncodeError(f"a key{_at(path)} is a {type(key).__qualname__}, which is no plain data")
            _check(part, f"{path}[{key!r}]", levels - 1)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            _check(part, f"{path}[{index}]", levels - 1)
    else:
        raise EncodeError(f"a {type(value).__qualname__}{_at(path)} is no plain data")


def _at(path: str) -> str:
    return f" at {path}" if path else ""


def _refuse_extension(code: int, _data: memoryview) -> NoReturn:
    raise ValueError(f"unknown extension type {code}")


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(ext_hook=_refuse_extension)
