"""Control commands that change which queues this worker consumes."""

from __future__ import annotations

from typing import Any

from celeriac.worker.control.panel import control_command
from celeriac.worker.control.state import ControlState, parts_of


@control_command(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
    in_loop=True,
)
def add_consumer(
    state: ControlState,
    queue: str,
    exchange: str | None = None,
    exchange_type: str | None = None,
    routing_key: str | None = None,
    **options: Any,
) -> dict[str, str]:
    """Consume one more queue."""
    parts_of(state).subscriptions.add(queue, exchange, exchange_type, routing_key, **options)
    return {"ok": f"add consumer {queue}"}


@control_command(args=[("queue", str)], signature="<queue>", in_loop=True)
def cancel_consumer(state: ControlState, queue: str, **_more: Any) -> dict[str, str]:
    """Consume a queue no more; what was claimed of it is finished."""
    parts_of(state).subscriptions.cancel(queue)
    return {"ok": f"no longer consuming from {queue}"}
