"""What a producer is told to send, and the events that tasks and producers write into the journal."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

JOURNAL_VARIABLE: Final = "CELERIAC_TORTURE_JOURNAL"
SETTINGS_VARIABLE: Final = "CELERIAC_TORTURE_SETTINGS"
"""Settings of one scenario's own, as JSON; without it everything is at its default."""
BROKER_VARIABLE: Final = "CELERIAC_TORTURE_BROKER"
BACKEND_VARIABLE: Final = "CELERIAC_TORTURE_BACKEND"

ACCEPTED, REFUSED = "accepted", "refused"
"""Events of a producer: the send returned, or raised."""

QUEUE: Final = "torture"


class Order(Struct, frozen=True):
    """Send one task for each key."""

    keys: list[str]
    task: str = "work"
    seconds: float = 0.02
    """How long the task works."""
    countdown_s: float | None = None
    pause_s: float = 0.0
    """Between two sends."""
    threads: int = 1
    """So many send at the same time."""
    awaited: bool = False
    """By the coroutine that does the same; only Celeriac has one."""
    read: bool = False
    """Each result is waited for; only Celeriac does."""
    arguments: dict[str, Any] = {}
    """More keyword arguments of the task."""
    options: dict[str, Any] = {}
    """More options of the call; only Celeriac and Celery take them."""
