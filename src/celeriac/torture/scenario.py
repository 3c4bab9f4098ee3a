"""What a scenario is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from celeriac.torture.places import Place, open_place
from celeriac.torture.tally import Tally

if TYPE_CHECKING:
    from celeriac.torture.stage import Stage


def _possible() -> str:
    return ""


COUNTDOWN: Final = "countdown"
"""What a scenario may need, and a system lack: calls that wait for their time."""


class Check(Struct, frozen=True):
    """One thing that must hold, and whether it did."""

    what: str
    holds: bool
    timed: bool = False
    """It says something of time, and so of the machine: not for a test to insist on."""


class Scenario(Struct, frozen=True):
    """One way to break things.

    `play` does it on a stage and returns what has to hold beyond the counts; none of it may raise for what the system does wrong,
    because that is a finding.
    """

    name: str
    title: str
    goal: str
    """What must hold, in a line for people."""
    places: Sequence[str]
    play: Callable[[Stage], Sequence[Check]]
    for_all: bool = False
    """Other task queues can be put through it, too."""
    needs: Sequence[str] = ()
    """What not every task queue has."""
    may_refuse: bool = False
    """Sends are refused while the broker is away, which is no fault."""
    may_lose: Sequence[str] = ()
    """Places where what no replica had received is lost with its master: it is counted and told, and no fault."""
    duplicates: bool = True
    """What was in flight may come to its end twice."""
    in_tests: Sequence[str] = ()
    """Places where its short run is quick enough to be one of the project's tests."""
    open_place: Callable[[str, Path], AbstractContextManager[Place]] = open_place
    """Starts what it is played on, given the place's name and a folder."""
    why_not: Callable[[], str] = _possible
    """Says why it can't be played on this machine, by this process; empty when it can."""


class Finding(Struct, frozen=True):
    """What one scenario has shown of one system in one place."""

    scenario: str
    place: str
    system: str
    seed: int
    tally: Tally | None
    checks: Sequence[Check]
    seconds: float
    error: str = ""
    """Why it could not be played to its end; empty when it was."""
    left_out: str = ""
    """Why it was not begun, which is no fault; empty when it was."""

    @property
    def holds(self) -> bool:
        """Whether everything was as it must be."""
        return not self.error and all(check.holds for check in self.checks)

    @property
    def holds_untimed(self) -> bool:
        """Whether everything was as it must be, however long it took."""
        return not self.error and all(check.holds or check.timed for check in self.checks)
