"""Control commands that change the limits of tasks on this worker."""

from __future__ import annotations

import logging
from typing import Any

from celeriac.worker.control.panel import control_command
from celeriac.worker.control.state import ControlState, parts_of

logger = logging.getLogger("celeriac.worker")


@control_command(
    args=[("task_name", str), ("rate_limit", str)],
    signature="<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>",
    in_loop=True,
)
def rate_limit(state: ControlState, task_name: str, rate_limit: Any, **_more: Any) -> dict[str, str]:
    """Change how often a task may begin on this worker."""
    if task_name not in state.app.tasks:
        logger.error("a rate limit was to be set for task %r, which is not known here", task_name)
        return {"error": "unknown task"}
    try:
        parts_of(state).rates.set_own(task_name, rate_limit)
    except (ValueError, TypeError) as error:
        return {"error": f"Invalid rate limit string: {error!r}"}
    if not rate_limit:
        logger.info("task %s has no rate limit any more", task_name)
        return {"ok": "rate limit disabled successfully"}
    logger.info("task %s: new rate limit %s", task_name, rate_limit)
    return {"ok": "new rate limit set successfully"}


@control_command(
    args=[("task_name", str), ("soft", float), ("hard", float)],
    signature="<task_name> <soft_secs> [hard_secs]",
    in_loop=True,
)
def time_limit(
    state: ControlState,
    task_name: str | None = None,
    hard: float | None = None,
    soft: float | None = None,
    **_more: Any,
) -> dict[str, str]:
    """Change how long a task may take on this worker, from the next one that is claimed."""
    if task_name is None or task_name not in state.app.tasks:
        logger.error("a time limit was to be set for task %r, which is not known here", task_name)
        return {"error": "unknown task"}
    parts_of(state).time_limits.set(
        task_name, None if hard is None else float(hard), None if soft is None else float(soft)
    )
    logger.info("task %s: new time limits, soft %s, hard %s", task_name, soft, hard)
    return {"ok": "time limits set successfully"}
