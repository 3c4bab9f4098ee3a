"""Time limits of tasks that were set while the worker runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from celeriac.core.policy import Policy
    from celeriac.core.settings import Settings

Limits = tuple[float | None, float | None]
"""Hard and soft limit in seconds; None: none."""


class TimeLimits:
    """Task name -> the limits that hold for its calls on this worker from now on, where a call says nothing else."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_task: dict[str, Limits] = {}

    def set(self, task_name: str, hard_s: float | None, soft_s: float | None) -> None:
        """Set a task's limits; None stands for those of the settings. Raises `ValueError` for limits that can't hold."""
        hard = self._settings.task_time_limit if hard_s is None else hard_s
        soft = self._settings.task_soft_time_limit if soft_s is None else soft_s
        if any(limit is not None and limit <= 0 for limit in (hard, soft)):
            raise ValueError(f"time limits are positive numbers of seconds, not hard={hard_s} and soft={soft_s}")
        if soft_s is not None and hard is not None and soft_s >= hard:
            raise ValueError(f"the soft limit ({soft_s:g} s) must be below the hard one ({hard:g} s)")
        if soft is not None and hard is not None and soft >= hard:
            soft = None
        self._by_task[task_name] = hard, soft

    def of(self, task_name: str) -> Limits | None:
        """Return what was set for a task; None: nothing."""
        return self._by_task.get(task_name) if self._by_task else None


def limited(policy: Policy, limits: Limits | None) -> Policy:
    """Return a task's policy with limits that were set while the worker runs."""
    return policy if limits is None else replace(policy, time_limit_s=limits[0], soft_time_limit_s=limits[1])
