"""How large an envelope may be before a worker does not even read it."""

from __future__ import annotations

from typing import Final

from celeriac.core.settings import Settings

_HEADERS_BYTES: Final = 1024 * 1024
"""Room for headers and properties."""


def envelope_max_bytes(settings: Settings) -> int:
    """Return the most bytes of an envelope that a worker reads; what is larger it parks unread.

    Twice `task_message_max_bytes`, and some for headers: base64 takes a third more than a body, and escapes in a text up to as much
    again.  So a body that is only just too large is still read, and a chord that waits for it is told.
    """
    return 2 * settings.task_message_max_bytes + _HEADERS_BYTES
