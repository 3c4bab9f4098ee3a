"""JSON as Celery writes and reads it, with its tags for values that JSON does not know.

A tagged value is `{"__type__": tag, "__value__": value}`; the tags are datetime, date, time, decimal, uuid, bytes (text that is
UTF-8) and base64 (any other bytes).
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from celeriac.exceptions import DecodeError, EncodeError, SoftTimeLimitExceeded
from celeriac.wire.short_repr import short_repr

MAX_DEPTH: Final = 256
"""Levels of lists and objects within each other; more is refused both ways."""

_TAG: Final = "__type__"
_VALUE: Final = "__value__"
_TAG_BYTES: Final = b'"__type__"'
_TAG_KEYS: Final = {_TAG, _VALUE}
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_TOO_DEEP: Final = b"[" * (MAX_DEPTH + 1)
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")


def dumps(value: Any) -> bytes:
    """Write `value` as JSON: ASCII, with ", " and ": " between the parts.

    Raises `EncodeError` that names the place of the first part which is no plain data, or is nested too deeply.
    """
    try:
        data = _encode(value).encode("ascii")
    except SoftTimeLimitExceeded:  # the task's time is over, wherever it is just now: no fault of the value
        raise
    except Exception as error:  # a value's own __json__ or __str__ may raise anything
        raise EncodeError(_why_not(value, error)) from None
    if exceeds_depth(data):
        raise EncodeError(f"the value is nested more than {MAX_DEPTH} levels deep: flatten it, or pass a reference")
    return data


def loads(data: bytes) -> Any:
    """Read JSON in UTF-8, tagged values included.

    Raises `DecodeError` for anything else, for nesting beyond `MAX_DEPTH` and for integers of more than 4,300 digits.
    """
    if exceeds_depth(data):
        raise DecodeError(f"JSON is nested more than {MAX_DEPTH} levels deep")
    if _TAG_BYTES not in data:
        try:
            return _fast_decoder.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # NaN, infinities, numbers out of range and lone surrogates are no JSON for msgspec, but Celery sends them.
            pass
    try:
        return _tag_decoder.decode(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"no valid JSON: {_shown(error)}") from None


def exceeds_containers(data: bytes, limit: int) -> bool:
    """Tell whether a JSON text has more lists and objects than `limit`; its cost is linear and small, whatever the text."""
    return data.count(b"[") + data.count(b"{") > limit and _brackets(data).count(b"[") > limit


def _brackets(data: bytes) -> bytes:
    """Return all brackets of a JSON text that do not stand in strings, as those of lists."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Every second piece between quotes is the inside of a string. What is left are the brackets that count.
    return b"".join(data.split(b'"')[::2]).translate(_ONE_KIND, _NO_BRACKETS)


def exceeds_depth(data: bytes) -> bool:
    """Tell whether a JSON text nests more than `MAX_DEPTH` levels; its cost is linear and small, whatever the text."""
    if is_shallow(data):
        return False
    brackets = _brackets(data)
    # Each round takes the innermost level away, so what is left of well-formed brackets is deeper than the limit.
    for _ in range(MAX_DEPTH):
        if _TOO_DEEP in brackets:
            return True
        outer = brackets.replace(b"[]", b"")
        if len(outer) == len(brackets):
            return False  # nothing is left, or brackets that do not match, as the parser will say
        brackets = outer
    return bool(brackets)


def is_shallow(data: bytes) -> bool:
    """Tell whether a JSON text has so few brackets that it can neither nest too deeply nor hold too much."""
    return data.count(b"[") + data.count(b"{") <= MAX_DEPTH


# -- writing ----------------------------------------------------------------------------------------------------------


def are_scalars(values: Iterable[Any]) -> bool:
    """Tell whether all values are texts, integers, booleans or None: `dumps_plain` may write what holds only those."""
    return _SCALARS.issuperset(map(type, values))


def dumps_plain(value: Any) -> bytes:
    """Write lists and objects of nothing but scalars as JSON, seven times as fast as `dumps` does, without its spaces.

    Raises `EncodeError` for lone surrogates and integers over 64 bits, which only `dumps` writes.  (msgspec has forms of its own for
    what Celery tags, and writes NaN as null: hence not for any value.)
    """
    try:
        return _fast_encoder.encode(value)
    except (OverflowError, UnicodeEncodeError) as error:
        raise EncodeError(f"cannot be written so: {error}") from None


def register_type(
    kind: type[Any], tag: str | None, encoder: Callable[[Any], Any], decoder: Callable[[Any], Any] = lambda value: value
) -> None:
    """Have JSON carry another type, in all apps of this process: `encoder` makes plain data, `decoder` the value again.

    Without a tag the plain data stand for themselves and are read as such.  Idempotent; the last one counts.
    """
    _own_types[kind] = (tag, encoder)
    if tag is not None:
        _readers[tag] = decoder


def own_type(kind: type[Any]) -> tuple[str | None, Callable[[Any], Any], Callable[[Any], Any]] | None:
    """Return tag, encoder and decoder of a registered type, or of one that it derives from; None for all others."""
    for known, (tag, encoder) in _own_types.items():
        if issubclass(kind, known):
            return tag, encoder, _readers[tag] if tag is not None else kind
    return None


def _tagged(tag: str, value: Any) -> dict[str, Any]:
    return {_TAG: tag, _VALUE: value}


def _to_plain(value: Any) -> Any:
    """Write what JSON has no form for; the order matters, because a datetime is a date too."""
    if (own_form := getattr(value, "__json__", None)) is not None:
        return own_form()
    for kind, (tag, write) in _own_types.items():
        if isinstance(value, kind):
            return write(value) if tag is None else _tagged(tag, write(value))
    match value:
        case datetime():
            return _tagged("datetime", value.isoformat())
        case date():
            return _tagged("date", value.isoformat())
        case time():
            return _tagged("time", value.isoformat())
        case Decimal():
            return _tagged("decimal", str(value))
        case UUID():
            return _tagged("uuid", {"hex": value.hex})
        case bytes():
            try:
                return _tagged("bytes", value.decode("utf-8"))
            except UnicodeDecodeError:
                return _tagged("base64", base64.b64encode(value).decode("ascii"))
    if _is_lazy_text(value):
        return str(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is no plain data")


def _is_lazy_text(value: Any) -> bool:
    """Tell whether it is one of Django's lazily translated texts, without importing Django."""
    django = sys.modules.get("django.utils.functional")
    return django is not None and isinstance(value, django.Promise)


def _why_not(value: Any, error: Exception) -> str:
    path = _find_foreign(value)
    where = f" at {path}" if path else ""
    return f"cannot be written as JSON{where}: {_shown(error)}"


def _find_foreign(value: Any) -> str | None:
    """Return the path of the first part that cannot be written, None when none is found."""
    to_search = [("", value, 0)]
    seen: set[int] = set()
    while to_search:
        path, value, level = to_search.pop()
        if isinstance(value, dict):
            parts = [(f"{path}[{short_repr(key, 40)}]", part, level + 1) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            parts = [(f"{path}[{index}]", part, level + 1) for index, part in enumerate(value)]
        else:
            try:
                _encode(value)
            except SoftTimeLimitExceeded:
                raise
            except Exception:  # see dumps
                return path
            continue
        if level < MAX_DEPTH and id(value) not in seen:
            seen.add(id(value))
            to_search += reversed(parts)
    return None


# -- reading ----------------------------------------------------------------------------------------------------------


def _read_uuid(value: dict[str, str]) -> UUID:
    return UUID(hex=value["hex"])


_own_types: Final[dict[type[Any], tuple[str | None, Callable[[Any], Any]]]] = {}
_readers: Final[dict[str, Callable[[Any], Any]]] = {
    "datetime": datetime.fromisoformat,
    "date": lambda text: datetime.fromisoformat(text).date(),
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": _read_uuid,
    "bytes": lambda text: text.encode("utf-8"),
    "base64": lambda text: base64.b64decode(text.encode("ascii")),
}


def _from_tagged(found: dict[str, Any]) -> Any:
    if found.keys() != _TAG_KEYS:
        return found
    tag = found[_TAG]
    reader = _readers.get(tag) if isinstance(tag, str) else None
    if reader is None:
        raise ValueError(f"unknown type tag {tag!r:.80}")
    try:
        return reader(found[_VALUE])
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # a reader may be the user's
        raise ValueError(f"a {tag} cannot be read from {found[_VALUE]!r:.80}") from None


def _shown(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        # Its own text would quote a byte, its repr the whole input.
        return f"not UTF-8 at byte {error.start}"
    if isinstance(error, RecursionError):
        return f"it is nested more than {MAX_DEPTH} levels deep"
    return str(error)


_SCALARS: Final = frozenset({str, int, bool, type(None)})
_fast_encoder: Final = msgspec.json.Encoder()
_encode: Final = json.JSONEncoder(default=_to_plain).encode
_fast_decoder: Final = msgspec.json.Decoder()
_tag_decoder: Final = json.JSONDecoder(object_hook=_from_tagged)
