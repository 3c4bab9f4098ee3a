"""Celeriac with a schedule."""

from __future__ import annotations

from celeriac.torture.systems.celeriac import CeleriacSystem


class ScheduleSystem(CeleriacSystem):
    """Celeriac whose program has a task for ticks, and schedulers beside its workers."""

    program = "celeriac.torture.systems.celeriac_schedule_program"

    def scheduler_command(self) -> list[str]:
        """Return the command line of a scheduler."""
        return [self.python, "-m", "celeriac", "-A", self.program, "beat"]
