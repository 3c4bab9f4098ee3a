"""The task queues that can be tortured: ours, and others for comparison."""

from __future__ import annotations

from collections.abc import Mapping

from celeriac.torture.systems.celeriac import CeleriacSystem
from celeriac.torture.systems.celery import CelerySystem
from celeriac.torture.systems.dramatiq import DramatiqSystem
from celeriac.torture.systems.system import System
from celeriac.torture.systems.taskiq import TaskiqSystem

_ALL: tuple[System, ...] = (
    CeleriacSystem(),
    CelerySystem(),
    CelerySystem(best=True),
    DramatiqSystem(),
    TaskiqSystem(),
    TaskiqSystem(stream=True),
)

SYSTEMS: Mapping[str, System] = {system.name: system for system in _ALL}
"""By the name that `celeriac torture --system` takes."""
