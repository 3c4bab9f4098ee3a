"""Plain data that came from elsewhere, as the types that it should have."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def convert(value: Any, kind: type[T]) -> T:
    """Return plain data as `kind`. Raises `msgspec.ValidationError`, whatever the data are.

    msgspec itself raises another error for half of a surrogate pair in a text that stands where something else is wanted, and Celery's
    JSON may hold such.
    """
    try:
        return msgspec.convert(value, kind)
    except UnicodeEncodeError as error:
        msgspec.convert(_escaped(value), kind)  # whose error says where
        raise msgspec.ValidationError(f"a text that is no Unicode: {error.reason}") from None


def _escaped(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_escaped(name): _escaped(one) for name, one in value.items()}
        case list():
            return [_escaped(one) for one in value]
    return value
