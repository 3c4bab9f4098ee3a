"""Control commands about executors, and the end of the worker."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from celeriac.worker.control.panel import control_command
from celeriac.worker.control.state import ControlState, parts_of

logger = logging.getLogger("celeriac.worker")


@control_command(args=[("n", int)], signature="[N=1]", in_loop=True)
def pool_grow(state: ControlState, n: int = 1, **_more: Any) -> dict[str, str]:
    """Have n more process executors."""
    parts_of(state).crew.grow(int(n))
    return {"ok": "pool will grow"}


@control_command(args=[("n", int)], signature="[N=1]", in_loop=True)
def pool_shrink(state: ControlState, n: int = 1, **_more: Any) -> dict[str, str]:
    """Have n fewer process executors."""
    parts_of(state).crew.shrink(int(n))
    return {"ok": "pool will shrink"}


@control_command(in_loop=True, args=[])
def pool_restart(
    state: ControlState, modules: Sequence[str] | None = None, reload: bool = False, **_more: Any
) -> dict[str, str]:
    """Replace all executors by new ones that import the program anew."""
    if not state.app.settings.worker_pool_restarts:
        raise ValueError("Pool restarts not enabled")
    parts_of(state).crew.restart(modules or ())
    return {"ok": "reload started"}


@control_command(args=[("max", int), ("min", int)], signature="[max [min]]", in_loop=True)
def autoscale(state: ControlState, max: int | None = None, min: int | None = None) -> dict[str, str]:
    """Change between how many and how few executors the worker scales itself."""
    limits = parts_of(state).crew.autoscale(None if max is None else int(max), None if min is None else int(min))
    return {"ok": f"autoscale now max={limits.most} min={limits.least}"}


@control_command(in_loop=True, args=[])
def shutdown(state: ControlState, msg: str = "Got shutdown from remote", **_more: Any) -> None:
    """Stop the worker warmly; it does not answer."""
    logger.warning("%.200s", msg)
    parts_of(state).stop()
