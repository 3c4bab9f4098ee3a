"""Rates set at run time: `app.control.rate_limit`, and the limits of workers that live in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from celeriac.client.signing import sign_rate
from celeriac.coordination.limits import RateBoard, open_rate_board
from celeriac.coordination.limits_memory import MemoryLimits, MemoryRateBoard
from celeriac.coordination.location import coordination_url
from celeriac.core.rates import Rate, interval_of
from celeriac.exceptions import ArgumentError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


def memory_limits(app: Celeriac) -> MemoryLimits:
    """Return the limits that workers inside of this process agree on by memory."""
    return _memory(app).limits


def set_rate(app: Celeriac, task_name: str, rate: Rate) -> None:
    """Set the rate of a task for all workers, those that start later among them; None or 0: no limit.

    Raises `ArgumentError` for what is no rate, `ImproperlyConfigured` where no place keeps it, `OperationalError`.
    """
    if not isinstance(task_name, str) or not task_name:
        raise ArgumentError(f"rate_limit() takes the name of a task, not {task_name!r:.80}")
    try:
        interval_of(rate)
    except ValueError as error:
        raise ArgumentError(f"rate_limit({task_name!r}): {error}") from None
    _board(app).set_rate(task_name, sign_rate(app, task_name, str(rate or 0)))


def reset_rate(app: Celeriac, task_name: str) -> None:
    """Go back to the rate that the task itself says. Raises as `set_rate`."""
    _board(app).set_rate(task_name, None)


def _board(app: Celeriac) -> RateBoard:
    def make() -> RateBoard:
        url = coordination_url(app.settings, app.locations.broker, "control.rate_limit()")
        memory = _memory(app) if url.startswith("memory") else None
        return memory or open_rate_board(url, app.settings)

    return cast("RateBoard", app._connections.part("rate board", make))


def _memory(app: Celeriac) -> MemoryRateBoard:
    def make() -> MemoryRateBoard:
        return MemoryRateBoard(MemoryLimits(app.settings.worker_lease_s, app.time_source.time))

    return cast("MemoryRateBoard", app._connections.part("memory limits", make))
