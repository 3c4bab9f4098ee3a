"""Settings as they may be shown: without passwords and keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from celeriac.core.urls import mask

STARS: Final = "********"
_SECRET: Final = re.compile(
    r"passw|secret|token|(?<!require_)signature|(hmac|encryption)_key(?!_file)|api_?key|access_?key|(^|_)pass(_|$)|credential"
    r"|(?<!routing)(?<!security)_key$",  # but for those two: the one is a name, the other a file
    re.I,
)


def censor(name: str, value: Any) -> Any:
    """Return a value without its secrets: passwords in URLs, values (also nested) whose name says that they are secret."""
    if value is not None and value != "" and _SECRET.search(name):
        return STARS
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, bytes):
        return mask(value.decode("latin-1")).encode("latin-1")
    if isinstance(value, Mapping):
        return {key: censor(str(key), part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([censor("", part) for part in value]) if type(value) in (list, tuple) else value
    return value


def shown_value(name: str, value: Any, width: int = 200) -> str:
    """Return the text of a censored value, cut after `width` characters."""
    text = repr(censor(name, value))
    return text if len(text) <= width else f"{text[: width - 3]}..."
