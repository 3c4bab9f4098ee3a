"""Inspect commands about the worker itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celeriac.worker.control.panel import boolean, inspect_command
from celeriac.worker.control.records import plain
from celeriac.worker.control.state import ControlState, parts_of
from celeriac.worker.control.statistics import statistics


@inspect_command(default_timeout=0.2, in_loop=True, args=[])
def ping(_state: ControlState, **_more: Any) -> dict[str, str]:
    """Answer."""
    return {"ok": "pong"}


@inspect_command(in_loop=True, args=[])
def stats(state: ControlState, **_more: Any) -> dict[str, Any]:
    """Tell figures of the worker: tasks run, executors, broker, use of the processor."""
    return statistics(state)


@inspect_command(in_loop=True, args=[])
def clock(state: ControlState, **_more: Any) -> dict[str, int]:
    """Tell the logical clock."""
    return {"clock": parts_of(state).events.clock.value}


@inspect_command(in_loop=True, args=[])
def active_queues(state: ControlState) -> list[dict[str, Any]]:
    """List the queues that the worker consumes."""
    return [plain(queue.as_dict(recurse=True)) for queue in parts_of(state).subscriptions.queues()]


@inspect_command(
    alias="dump_conf", signature="[include_defaults=False]", args=[("with_defaults", boolean)], in_loop=True
)
def conf(state: ControlState, with_defaults: bool = False, **_more: Any) -> dict[str, Any]:
    """Tell the settings, without secrets."""
    return {name: plain(value) for name, value in state.app.conf.table(with_defaults=with_defaults).items()}


@inspect_command(args=[])
def report(state: ControlState) -> dict[str, str]:
    """Tell what a report of a bug should say."""
    return {"ok": f"\n{state.app.bugreport()}"}


@inspect_command(visible=False, in_loop=True, args=[])
def hello(
    state: ControlState, from_node: str, revoked: Iterable[str] | None = None, **more: Any
) -> dict[str, Any] | None:
    """Exchange what is known of revoked tasks with a worker that has just started."""
    parts = parts_of(state)
    if from_node == state.hostname:
        return None
    if revoked:
        parts.revoker.told(one for one in revoked if isinstance(one, str))
    # A worker of ours finds in the broker what is kept there.
    known = parts.revoker.foreign_ids() if more.get("reads_broker") else parts.revoker.ids()
    return {"revoked": known, "clock": parts.events.clock.forward()}
