"""`kombu.utils.encoding` and `celery.utils.serialization`: text and bytes."""

from __future__ import annotations

import base64
from typing import Any

from celeriac.wire.short_repr import short_repr as saferepr

__all__ = [
    "b64decode",
    "b64encode",
    "bytes_to_str",
    "default_encode",
    "ensure_bytes",
    "from_utf8",
    "safe_repr",
    "safe_str",
    "saferepr",
    "str_to_bytes",
    "strtobool",
]


def bytes_to_str(s: Any) -> Any:
    """Decode bytes; all else as it is."""
    return s.decode(errors="replace") if isinstance(s, bytes) else s


def str_to_bytes(s: Any) -> Any:
    """Encode text; all else as it is."""
    return s.encode() if isinstance(s, str) else s


ensure_bytes = str_to_bytes
from_utf8 = bytes_to_str


def default_encode(obj: Any, file: Any = None) -> Any:
    """Return it as it is: text is Unicode."""
    return obj


def safe_str(s: Any, errors: str = "replace") -> str:
    """Return a text for anything; never raises."""
    try:
        return s.decode(errors=errors) if isinstance(s, bytes) else str(s)
    except Exception as error:
        return f"<Unrepresentable {type(s)!r}: {type(error).__name__}>"


def safe_repr(o: Any, errors: str = "replace") -> str:
    """Return the representation of anything; never raises."""
    try:
        return repr(o)
    except Exception as error:
        return f"<Unrepresentable {type(o)!r}: {type(error).__name__}>"


def b64encode(s: Any) -> str:
    """Return text or bytes in base 64."""
    return base64.b64encode(str_to_bytes(s)).decode("ascii")


def b64decode(s: Any) -> bytes:
    """Return what stands in base 64."""
    return base64.b64decode(str_to_bytes(s))


def strtobool(term: str | bool, table: dict[str, bool] | None = None) -> bool:
    """Read yes or no, on or off, true or false, 1 or 0. Raises `TypeError` for all else."""
    if not isinstance(term, str):
        return term
    known = table or {
        "false": False,
        "no": False,
        "0": False,
        "off": False,
        "true": True,
        "yes": True,
        "1": True,
        "on": True,
    }
    try:
        return known[term.lower()]
    except KeyError:
        raise TypeError(f"cannot read {term!r:.80} as yes or no") from None
