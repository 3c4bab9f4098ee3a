"""Events, as programs make and name them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from celeriac.wire.event import group_of as group_from

__all__ = ["Event", "anon_nodename", "group_from", "hours_west"]


def Event(type: str, _fields: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:  # noqa: N802
    """Return an event: a dict with a type, the time in Unix seconds where none is given, and further fields."""
    event = {**(_fields or {}), **fields}
    event.setdefault("timestamp", time.time())
    return {**event, "type": type}


def anon_nodename() -> str:
    """Return the name of a process that is no worker."""
    return f"gen{os.getpid()}@{socket.gethostname()}"


def hours_west() -> float:
    """Return how far west of UTC this machine's zone is now, in hours."""
    return (time.altzone if time.localtime().tm_isdst else time.timezone) / 3600
