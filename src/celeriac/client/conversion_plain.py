"""From typed objects to plain data and back, for one type hint: by msgspec, and by pydantic for what is pydantic's."""

from __future__ import annotations

import contextlib
import types
import typing
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

import msgspec

from celeriac.client.conversion_hints import NOTHING, Hint
from celeriac.exceptions import ImproperlyConfigured
from celeriac.wire import json_text

_JSON_HAS: Final = (bytes, datetime, date, time, Decimal, UUID)
_NATIVE: Final[dict[str, tuple[type[Any], ...]]] = {
    "json": _JSON_HAS,
    "pickle": _JSON_HAS,
    "yaml": (bytes, datetime, date),
    "msgpack": (bytes,),
}
"""What a serializer carries as it is, as Celery's tasks expect it; all else becomes text."""


class Converter(Protocol):
    """Both ways for one hint; each raises `TypeError` or `ValueError` that says what does not fit."""

    def dump(self, value: Any, serializer: str) -> Any: ...
    def load(self, value: Any) -> Any: ...


def make_converter(task_name: str, hint: Hint) -> Converter | None:
    """Return the converter for a hint, None for one that says nothing.

    Raises `ImproperlyConfigured` for a type that can't be made from plain data.
    """
    kind = hint.type
    if kind in NOTHING or isinstance(kind, TypeVar):
        return None
    try:
        return _converter(kind)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"task {task_name!r}: arguments for the type hint {hint.text} of parameter {hint.name!r} can't be made from plain"
            f" data ({error}); use a dataclass, a pydantic model or a msgspec Struct, or leave the hint out (Any)"
        ) from None


def to_plain(value: Any, serializer: str) -> Any:
    """Return plain data for the serializer. Raises `TypeError` for what has no plain form."""
    native = _NATIVE.get(serializer, ())
    try:
        return msgspec.to_builtins(value, builtin_types=native, str_keys=True, enc_hook=_dump_other)
    except TypeError:
        if not native:
            raise
        # A dict may have dates or UUIDs as keys, which have to be texts; then all of them are.
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_dump_other)


def _converter(kind: Any) -> Converter:
    if any(_is_pydantic(part) for part in _parts(kind)):
        import pydantic.errors

        with contextlib.suppress(pydantic.errors.PydanticUserError):  # something that only msgspec knows is with it
            return _ByPydantic(kind)
    try:
        info = msgspec.inspect.type_info(kind)
    except TypeError:
        if typing.get_origin(kind) not in (typing.Union, types.UnionType):
            raise
        return _ByTrial(kind)
    _check_parts(info, set())
    return _ByMsgspec(kind)


class _ByMsgspec:
    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def dump(self, value: Any, serializer: str) -> Any:
        plain = to_plain(value, serializer)
        self.load(plain)
        return plain

    def load(self, value: Any) -> Any:
        return msgspec.convert(value, self._kind, str_keys=True, dec_hook=_load_other)


class _ByPydantic:
    """For pydantic models and what is made of them; they decide themselves how strict they are."""

    def __init__(self, kind: Any) -> None:
        import pydantic
        import pydantic_core

        self._adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(kind)
        self._to_json = pydantic_core.to_json
        self._problem = pydantic.ValidationError

    def dump(self, value: Any, serializer: str) -> Any:
        try:
            typed = self._adapter.validate_python(value)
        except self._problem as error:
            raise ValueError(_told(error)) from None
        return self._adapter.dump_python(typed, mode="json", by_alias=True, round_trip=True)

    def load(self, value: Any) -> Any:
        try:
            # As JSON, because in a strict model text is a date only there.
            return self._adapter.validate_json(self._to_json(value))
        except self._problem as error:
            raise ValueError(_told(error)) from None


class _ByTrial:
    """For a union whose members msgspec can't tell apart: the first one that the value fits."""

    def __init__(self, kind: Any) -> None:
        self._members = [(member, _converter(member)) for member in typing.get_args(kind)]

    def dump(self, value: Any, serializer: str) -> Any:
        plain = to_plain(value, serializer)
        back = self.load(plain)
        if type(value) in [member for member, _ in self._members] and type(back) is not type(value):
            raise TypeError(f"on the way it would become a {type(back).__qualname__}; use msgspec Structs with tags")
        return plain

    def load(self, value: Any) -> Any:
        for member, converter in self._members:
            if type(value) is member:
                return converter.load(value)
        problems = []
        for _member, converter in self._members:
            try:
                return converter.load(value)
            except (TypeError, ValueError) as error:
                problems.append(str(error))
        raise ValueError("; ".join(problems))


# -- what msgspec does not know -----------------------------------------------------------------------------------------


def _is_pydantic(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__pydantic_validator__")


def _is_known(kind: Any) -> bool:
    if not isinstance(kind, type):
        return False
    return kind is object or _is_pydantic(kind) or issubclass(kind, PurePath) or json_text.own_type(kind) is not None


def _dump_other(value: Any) -> Any:
    if _is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True, round_trip=True)
    if isinstance(value, PurePath):
        return str(value)
    own = json_text.own_type(type(value))
    if own is not None:
        return own[1](value)
    raise TypeError(f"type `{type(value).__qualname__}` has no plain form")


def _load_other(kind: Any, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if _is_pydantic(kind):
        return _ByPydantic(kind).load(value)
    if issubclass(kind, PurePath) and isinstance(value, str):
        return kind(value)
    own = json_text.own_type(kind)
    if own is not None:
        return own[2](value)
    raise TypeError(f"Expected `{kind.__qualname__}`, got `{type(value).__qualname__}`")


def _told(error: Any) -> str:
    return "; ".join(
        f"{one['msg']}, got `{type(one['input']).__qualname__}`"
        + (f" - at `{_path(one['loc'])}`" if one["loc"] else "")
        for one in error.errors(include_url=False)[:3]
    )


def _path(parts: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def _parts(kind: Any) -> Iterator[Any]:
    """Tell a hint and all that stands in its brackets."""
    yield kind
    for part in typing.get_args(kind):
        yield from _parts(part)


def _check_parts(info: Any, seen: set[int]) -> None:
    """Raise `TypeError` for a type within a hint that neither msgspec nor we can make."""
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType) and not _is_known(info.cls):
        raise TypeError(f"type `{info.cls.__qualname__}` is not supported")
    if isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field):
        for name in info.__struct_fields__:
            _check_parts(getattr(info, name), seen)
    elif isinstance(info, tuple):
        for part in info:
            _check_parts(part, seen)
