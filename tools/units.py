"""How the tests are shared out among the processes that run them: units that stay together, and which come first."""

from __future__ import annotations

import re
from typing import Any, Final

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

FIRST: Final = ("tests/sample", "tests/demo", "tests/e2e/test_broker_restart", "tests/brokers/test_amqp_faults")
"""Few tests, but long ones: begun late, they would be what everybody waits for in the end."""
LAST: Final = re.compile(r"tests/(client|coordination|core|testing|typing|wire|worker)/|tests/test_compatibility")
"""What starts no server and no worker is quick, and fills the gaps in the end."""
PLACE: Final = re.compile(r"\[(sqlite|redis|rabbitmq|classic|quorum)\b")
"""What a test's parameters begin with where it has a broker that a session shares."""


def unit_of(nodeid: str) -> str:
    """Name the unit of a test: its file or class, and its place, as fixtures of modules and places are made once for each."""
    found = PLACE.search(nodeid)
    group = nodeid.partition("[")[0].rpartition("::")[0]
    return f"{group}@{found[1] if found else ''}"


def place_of(unit: str) -> str:
    """Name the place of a unit, empty for none."""
    return unit.rpartition("@")[2]


def turn_of(unit: str) -> int:
    """Tell how early a unit is begun; the lowest comes first."""
    if unit.startswith(FIRST):
        return 0
    return 2 if LAST.match(unit) else 1


class Units(LoadScopeScheduling):
    """Gives each process a unit at a time, if it can on the place of the unit before: what stands there is used on."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._places: dict[WorkerController, str] = {}

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        here = self._places.get(node, "")
        unit = min(
            self.workqueue,
            key=lambda unit: (turn_of(unit), place_of(unit) not in (here, ""), -len(self.workqueue[unit]), unit),
        )
        self.workqueue.move_to_end(unit, last=False)
        self._places[node] = place_of(unit) or here
        super()._assign_work_unit(node)
