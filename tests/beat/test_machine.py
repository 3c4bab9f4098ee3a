"""Two schedulers that may die at every step: no tick is missed, none is sent twice; in virtual time."""

from __future__ import annotations

import asyncio
import math

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from celeriac.beat import Scheduler
from celeriac.beat.state import read_state, state_field
from tests.beat.clockwork import START_S, Crash, Place, counted

INTERVALS = {"all": 7.0, "once": 5.0}
LEASE_S = 10.0
LOOKS_MAX = 100_000


class Schedulers(RuleBasedStateMachine):
    """`all` makes up for each tick, so that its count is known; `once` is to be sent once for each look."""

    in_one_step = True

    def __init__(self) -> None:
        super().__init__()
        schedule = {
            name: {"task": "note", "schedule": seconds, "misfire": name, "expires": None}
            for name, seconds in INTERVALS.items()
        }
        self.place = Place(in_one_step=self.in_one_step, beat_schedule=schedule, beat_lease_s=LEASE_S)
        self.schedulers = [self.new(), self.new()]
        self.look(0, None)
        self.crashes = 0

    def new(self) -> Scheduler:
        return Scheduler(self.place.app)

    @rule(which=st.integers(0, 1), moments=st.one_of(st.none(), st.integers(0, 12)))
    def look(self, which: int, moments: int | None) -> None:
        """Let one of them look until it wants to sleep; it may die after so many moments, and another takes its place."""
        self.place.fate.left = moments
        try:
            for _ in range(LOOKS_MAX):
                if self.schedulers[which].tick() > 0:
                    return
            raise AssertionError("a scheduler never sleeps")
        except Crash:
            self.crashes += 1
            self.schedulers[which] = self.new()
        finally:
            self.place.fate.left = None

    @rule(seconds=st.one_of(st.floats(0.1, 8), st.floats(8, 60)))
    def time_passes(self, seconds: float) -> None:
        self.place.advance(seconds)

    @rule(moments=st.integers(0, 12))
    def both_look_at_once(self, moments: int) -> None:
        """One reads and dies or goes on, the other looks in between: what the first one knows is old then."""
        first, second = self.schedulers
        texts = dict(first.board.read(1.0))
        self.look(1, None)
        now = self.place.clock.now
        self.place.fate.left = moments
        try:
            for entry in first.entries(texts).values():
                first._look_at(entry, texts.get(state_field(entry.name)), now)
        except Crash:
            self.crashes += 1
            self.schedulers[0] = self.new()
        finally:
            self.place.fate.left = None
        assert second is self.schedulers[1]

    @invariant()
    def the_board_stays_small(self) -> None:
        assert len(self.place.broker.boards._boards.get("schedule:place", {})) <= len(INTERVALS)

    def teardown(self) -> None:
        self.place.advance(LEASE_S + 0.1)  # what a dead one has claimed may be taken over
        self.look(0, None)
        now = self.place.clock.now
        board = self.schedulers[0].board.read(1.0)
        sent = counted(asyncio.run(self.place.sent()))
        for name, seconds in INTERVALS.items():
            state = read_state(board[state_field(name)])
            assert state is not None
            assert len(sent.get(name, ())) == state.runs, "a tick was noted and not sent, or sent and not noted"
            twice = sum(sent.get(name, {}).values()) - state.runs
            assert twice == 0 if self.in_one_step else twice <= self.crashes
            assert state.claim is None
            assert state.last > now - seconds
            over = (state.last - START_S) / seconds
            assert math.isclose(over, round(over), abs_tol=1e-3)
            if name == "all":
                assert state.runs == round(over), "a tick was left out, or sent under two ids"


class SchedulersUnderLease(Schedulers):
    """The same where claiming, sending and noting are three steps."""

    in_one_step = False


TestInOneStep = Schedulers.TestCase
TestInOneStep.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestUnderLease = SchedulersUnderLease.TestCase
TestUnderLease.settings = TestInOneStep.settings
