"""The text that shows a task's arguments in logs and monitors: `repr`, but bounded in depth and length."""

from __future__ import annotations

from decimal import Decimal
from numbers import Number
from typing import Any, Final

from celeriac.exceptions import SoftTimeLimitExceeded

MAX_CHARS: Final = 1024
MAX_LEVELS: Final = 3

_EMPTY: Final[dict[type, str]] = {dict: "{}", tuple: "()", list: "[]"}
"""Most calls have no keyword arguments, many none at all."""
_AS_REPR: Final = frozenset({int, float, bool, type(None)})
_FEW: Final = 20
_CUT: Final = ", ..."
_ELLIPSIS: Final = "..."


def short_repr(value: Any, max_chars: int = MAX_CHARS, max_levels: int = MAX_LEVELS) -> str:
    """Return a text like `repr(value)`, with containers below `max_levels` as `[...]`, cut after about `max_chars`.

    Never raises, save for a task's time limit: what cannot be shown says so.  It is the text that Celery sends, character for character.
    """
    kind = type(value)
    if kind in _EMPTY:
        if not value:
            return _EMPTY[kind]
        # Python's own repr is five times as fast, and for the arguments of most calls the same text.
        if len(value) <= _FEW and all(map(_shows_as_repr, value)) and (kind is not dict or _all_show(value)):
            text = repr(value)
            if len(text) < max_chars:
                return text
    writer = _Writer(max_chars, max_levels)
    writer.write(value, 0)
    return "".join(writer.parts)


def _all_show(mapping: dict[Any, Any]) -> bool:
    return all(map(_shows_as_repr, mapping.values()))


def _shows_as_repr(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        if len(value) > MAX_CHARS:  # what is cut anyway is not looked through
            return False
        return value.isalnum() or (value.isprintable() and "'" not in value and "\\" not in value)
    return kind in _AS_REPR


class _Writer:
    """Collects pieces until the room is used up; brackets that are open then are still closed."""

    __slots__ = ("left", "max_levels", "open_ids", "parts")

    def __init__(self, max_chars: int, max_levels: int) -> None:
        self.parts: list[str] = []
        self.left = max_chars
        self.max_levels = max_levels
        self.open_ids: set[int] = set()

    def write(self, value: Any, level: int) -> bool:
        """Write a value; False when the room was used up before."""
        if isinstance(value, str):
            return self._piece(f"'{self._shortened(value).replace(chr(39), chr(92) + chr(39))}'")
        if isinstance(value, Number) and not isinstance(value, Decimal):
            return self._piece(self._shortened(_call(str, value)))
        if isinstance(value, bytes):
            return self._piece(self._bytes(value))
        if isinstance(value, dict):
            return self._container(value, "{", "}", level)
        if isinstance(value, list):
            return self._container(value, "[", "]", level)
        if isinstance(value, tuple):
            return self._container(value, "(", ",)" if len(value) == 1 else ")", level)
        if isinstance(value, set | frozenset):
            name = type(value).__name__
            if not value:
                return self._piece(self._shortened(f"{name}()"))
            if type(value) is set:
                return self._container(value, "{", "}", level)
            return self._container(value, f"{name}({{", "})", level)
        return self._piece(self._shortened(_call(repr, value)))

    def _container(self, value: Any, start: str, end: str, level: int) -> bool:
        if self.max_levels and level >= self.max_levels:
            return self._piece(f"{start}{_ELLIPSIS}{end}")
        identity = id(value)
        if identity in self.open_ids:
            text = f"<Recursion on {type(value).__name__} with id={identity}>"
            return self._piece(self._shortened(text))
        if not self._piece(start):
            return False
        self.open_ids.add(identity)
        whole = self._pairs(value, level) if isinstance(value, dict) else self._items(value, level)
        self.open_ids.discard(identity)
        self.parts.append(end)
        self.left -= len(end)
        return whole

    def _items(self, items: Any, level: int) -> bool:
        first = True
        for item in items:
            if not first and not self._piece(", "):
                return False
            first = False
            if not self.write(item, level + 1):
                return False
        return True

    def _pairs(self, mapping: dict[Any, Any], level: int) -> bool:
        first = True
        for key, value in mapping.items():
            if not first and not self._piece(", "):
                return False
            first = False
            if self.left <= 0:
                return self._piece("")
            # A key is a text of its own: its levels count from its own outside.
            if not self._piece(short_repr(key, self.left, self.max_levels)) or not self._piece(": "):
                return False
            if not self.write(value, level + 1):
                return False
        return True

    def _piece(self, text: str) -> bool:
        if self.left <= 0:
            self.parts.append(_CUT)
            return False
        self.parts.append(text)
        self.left -= len(text)
        return True

    def _shortened(self, text: str) -> str:
        if self.left > 0 and len(text) >= self.left:
            return text[: self.left].rsplit(" ", 1)[0] + _ELLIPSIS
        return text

    def _bytes(self, value: bytes) -> str:
        if 0 < self.left < len(value):
            return f"b'{_bytes_text(value[: self.left])}{_ELLIPSIS}'"
        return f"b'{_bytes_text(value)}'"


def _bytes_text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.hex()


def _call(show: Any, value: Any) -> str:
    try:
        return str(show(value))
    except SoftTimeLimitExceeded:  # the task's time is over: no fault of the value
        raise
    except Exception as error:  # any __repr__ may raise anything, and a log text must not fail the call
        return f"<Unrepresentable {type(value)!r}: {type(error).__name__}>"
