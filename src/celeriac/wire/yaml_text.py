"""YAML as Celery writes and reads it, by PyYAML's safe loader, with limits on depth, on numbers and on what aliases unfold to."""

from __future__ import annotations

import re
from typing import Any, Final

from celeriac.exceptions import DecodeError, EncodeError, ImproperlyConfigured, SoftTimeLimitExceeded
from celeriac.wire.json_text import MAX_DEPTH

MAX_NODES: Final = 1_000_000
"""Values that a document may have, each counted as often as aliases repeat it."""
MAX_DIGITS: Final = 4300
"""Length of a number; Python's own limit for texts of integers, which YAML's other notations evade."""

_NUMBER: Final = re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|0b[01_]+|[0-9][0-9_:.]*)\Z")


def dumps(value: Any) -> bytes:
    """Write `value` as YAML. Raises `EncodeError` for what is no plain data, or is nested too deeply."""
    yaml = _yaml()
    try:
        text: str = yaml.dump(value, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))
        data = text.encode()
    except SoftTimeLimitExceeded:
        raise
    except RecursionError:
        raise EncodeError(f"the value is nested more than {MAX_DEPTH} levels deep, or refers to itself") from None
    except Exception as error:
        raise EncodeError(f"cannot be written as YAML: {_shown(error)}") from None
    problem = _excess(yaml, data)
    if problem:
        raise EncodeError(f"the value {problem}")
    return data


def loads(data: bytes) -> Any:
    """Read YAML: plain data only. Raises `DecodeError` for anything else, and for what exceeds the limits of this module."""
    yaml = _yaml()
    try:
        problem = _excess(yaml, data)
        if problem:
            raise DecodeError(f"YAML {problem}")
        return yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (DecodeError, SoftTimeLimitExceeded):
        raise
    except (
        Exception
    ) as error:  # besides YAMLError: ValueError, TypeError, OverflowError... of values that look like dates
        raise DecodeError(f"no valid YAML: {_shown(error)}") from None


def _excess(yaml: Any, data: bytes) -> str | None:
    """Say which limit a document exceeds, None if it exceeds none; its cost is linear, whatever the aliases."""
    weights: dict[str, int] = {}
    levels: list[tuple[str | None, int]] = []  # anchor, and weight before it, of each open list or mapping
    total = 0
    for event in yaml.parse(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        match event:
            case yaml.AliasEvent():
                if event.anchor not in weights:
                    return "refers to itself, or to what is not there"
                total += weights[event.anchor]
            case yaml.ScalarEvent():
                total += 1
                if event.anchor:
                    weights[event.anchor] = 1
                if len(event.value) > MAX_DIGITS and _may_be_number(event):
                    return f"has a number of more than {MAX_DIGITS} digits"
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                if len(levels) == MAX_DEPTH:
                    return f"is nested more than {MAX_DEPTH} levels deep"
                levels.append((event.anchor, total))
                weights.pop(event.anchor, None)
                total += 1
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                anchor, before = levels.pop()
                if anchor:
                    weights[anchor] = total - before
        if total > MAX_NODES:
            return f"has more than {MAX_NODES} values"
    return None


def _may_be_number(event: Any) -> bool:
    tag = event.tag or ""
    return tag.endswith((":int", ":float")) or (event.implicit[0] and _NUMBER.match(event.value) is not None)


def _shown(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"it is nested more than {MAX_DEPTH} levels deep"
    return " ".join(str(error).split())[:300]


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise ImproperlyConfigured("the serializer 'yaml' needs PyYAML: pip install 'celeriac[yaml]'") from None
    return yaml
