"""Control commands about events, and those by which Celery's workers agree with each other."""

from __future__ import annotations

import logging
from typing import Any

from celeriac.worker.control.panel import control_command
from celeriac.worker.control.state import ControlState, parts_of

logger = logging.getLogger("celeriac.worker")


@control_command(in_loop=True, args=[])
def enable_events(state: ControlState) -> dict[str, str]:
    """Send events of tasks."""
    return {"ok": f"task events {_switch(state, True)}enabled"}


@control_command(in_loop=True, args=[])
def disable_events(state: ControlState) -> dict[str, str]:
    """Send no events of tasks."""
    return {"ok": f"task events {_switch(state, False)}disabled"}


def _switch(state: ControlState, on: bool) -> str:
    tasks = parts_of(state).events.tasks
    if tasks.on is on:
        return "already "
    tasks.on = on
    logger.info("events of tasks are %s, as was asked for", "on" if on else "off")
    return ""


@control_command(in_loop=True, args=[], changes=False)
def heartbeat(state: ControlState) -> None:
    """Send a heartbeat now."""
    parts_of(state).events.heart.beat_now()


@control_command(in_loop=True, args=[], visible=False, changes=False)
def election(_state: ControlState, **_more: Any) -> None:
    """Take no part in an election of Celery's workers: what they elect somebody for is none of ours."""
