"""Two workers of one fleet, ours and Celery's, to be asked the same."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from celeriac import Celeriac
from tests.fleet.harness import OURS, THEIRS, Commands, Fleet

OURS_NODE: Final = "ours@fleet"
THEIR_NODE: Final = "theirs@fleet"
NODES: Final = (OURS_NODE, THEIR_NODE)
QUEUES: Final = ("pair-ours", "pair-theirs")
"""One for each worker."""


class Pair(NamedTuple):
    """A worker of each kind, each on a queue of its own, without -E; both command lines; and our app."""

    fleet: Fleet
    celery: Commands
    celeriac: Commands
    app: Celeriac

    def ask(self, command: str, by: str = THEIRS) -> tuple[Any, Any]:
        """What our worker says to a command, and what Celery's says, by Celery's command line or ours."""
        line = self.celery if by == THEIRS else self.celeriac
        replies = line.ask(command, *NODES)
        assert set(replies) == set(NODES), f"both answer to {command}"
        return replies[OURS_NODE], replies[THEIR_NODE]


def make_pair(fleet: Fleet) -> Pair:
    """Start both workers and both command lines."""
    for node, queue, kind in zip(NODES, QUEUES, (OURS, THEIRS), strict=True):
        fleet.worker(node, queue, "-c", "2", kind=kind)
    return Pair(fleet, fleet.commands(THEIRS, "pair"), fleet.commands(OURS, "pair"), fleet.our_app("pair"))
