"""Rates set at run time: `app.control.rate_limit`, and the limits of workers that live in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from celeriac.client.signing import sign_rate
from celeriac.coordination.limits import RateBoard, open_rate_board
from celeriac.coordination.limits_memory import MemoryLimits, MemoryRateBoard
from celeriac.coordination.location import CAPABLE, coordination_url
from celeriac.core.rates import Rate, interval_of
from celeriac.core.urls import scheme
from celeriac.exceptions import ArgumentError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


def memory_limits(app: Celeriac) -> MemoryLimits:
    """Return the limits that workers inside of this process agree on by memory."""
    return _memory(app).limits


def set_rate(app: Celeriac, task_name: str, rate: Rate) -> bool:
    """Set the rate of a task for all workers, those that start later among them; None or 0: no limit.

    Returns False where no place keeps it: on RabbitMQ without a `coordination_url`.  Raises `ArgumentError` for what is no rate,
    `OperationalError`.
    """
    if not isinstance(task_name, str) or not task_name:
        raise ArgumentError(f"rate_limit() takes the name of a task, not {task_name!r:.80}")
    try:
        interval_of(rate)
    except ValueError as error:
        raise ArgumentError(f"rate_limit({task_name!r}): {error}") from None
    if scheme(app.settings.coordination_url or app.locations.broker) not in CAPABLE:
        return False
    _board(app).set_rate(task_name, sign_rate(app, task_name, str(rate or 0)))
    return True


def reset_rate(app: Celeriac, task_name: str) -> None:
    """Go back to the rate that the task itself says. Raises as `set_rate`, and `ImproperlyConfigured` where no place keeps rates."""
    _board(app).set_rate(task_name, None)


def _board(app: Celeriac) -> RateBoard:
    def make() -> RateBoard:
        url = coordination_url(app.settings, app.locations.broker, "control.reset_rate_limit()")
        memory = _memory(app) if url.startswith("memory") else None
        return memory or open_rate_board(url, app.settings)

    return cast("RateBoard", app._connections.part("rate board", make))


def _memory(app: Celeriac) -> MemoryRateBoard:
    def make() -> MemoryRateBoard:
        return MemoryRateBoard(MemoryLimits(app.settings.worker_lease_s, app.time_source.time))

    return cast("MemoryRateBoard", app._connections.part("memory limits", make))
