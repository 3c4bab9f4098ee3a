"""`kombu.utils.json`: JSON with dates, UUIDs and what was registered."""

from __future__ import annotations

from typing import Any

from celeriac.wire import json_text

__all__ = ["dumps", "loads"]


def dumps(s: Any, **_named: Any) -> str:
    """Write as messages are written. Raises `EncodeError`."""
    return json_text.dumps(s).decode()


def loads(s: Any, **_named: Any) -> Any:
    """Read what was written so: text or bytes. Raises `DecodeError`."""
    return json_text.loads(s.encode() if isinstance(s, str) else bytes(s))
