"""The task by which a test finds out whether a worker works."""

from __future__ import annotations

from typing import Final

from celeriac.client.shared import shared_task

PING: Final = "celery.ping"


def pong() -> str:
    """Return `pong`."""
    return "pong"


ping = shared_task(name=PING)(pong)
