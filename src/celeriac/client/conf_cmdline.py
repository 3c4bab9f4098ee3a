"""Settings from the command line, as Celery writes them: `worker.prefetch_multiplier=1 broker_heartbeat=30`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from celeriac.core.setting_names import unknown_names
from celeriac.core.setting_values import parse
from celeriac.core.settings import KNOWN_NAMES, Settings, check_value
from celeriac.exceptions import ImproperlyConfigured

_CAST: Final = re.compile(r"\((\w+)\)")
_CASTS: Final = {"int": int, "float": float, "str": str, "string": str, "bool": None, "any": None}
_JSON: Final = ("json", "list", "tuple", "dict")


def parse_arguments(arguments: Iterable[str], namespace: str = "celery") -> dict[str, Any]:
    """Return the settings that `family.name=value` (or `family_name=value`) say; `(type)value` forces a type.

    A name that begins with a dot belongs to the family `namespace`.  Raises `ImproperlyConfigured` that names the argument.
    """
    found = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise ImproperlyConfigured(f"{argument!r}: a setting is written name=value, as in task_time_limit=30")
        name = name.strip().lower().replace(".", "_")
        if name.startswith("_"):
            name = namespace.lower().rstrip("_") + name
        if name not in KNOWN_NAMES:
            raise ImproperlyConfigured(f"{argument!r}: {unknown_names([name], KNOWN_NAMES)}")
        try:
            value = _value(name, text)
        except ValueError as error:
            raise ImproperlyConfigured(f"{argument!r}: {error}") from None
        found[name] = check_value(name, value) if name in Settings.__struct_fields__ else value
    return found


def _value(name: str, text: str) -> Any:
    cast = _CAST.match(text)
    if cast is None:
        return parse(name, text, Settings)
    kind, rest = cast[1], text[cast.end() :]
    if kind in _JSON:
        return json.loads(rest)
    if kind not in _CASTS:
        raise ValueError(f"unknown type ({kind}); known are {', '.join((*_CASTS, *_JSON))}")
    make = _CASTS[kind]
    return parse(name, rest, Settings) if make is None else make(rest)
