"""What takes too long to wait for: places that expire, waiters without number, leases over hours. By a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.coordination.limits_memory import MemoryLimits
from celeriac.core.limits import WAITERS_MAX, WOKEN_S, Answer, Hold, Question, Terms
from celeriac.core.message import Delayed

LEASE_S = 10.0
TERMS = Terms(near_s=0.25, horizon_s=60.0, wakes=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Store:
    """Memory limits, called without `await`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.limits = MemoryLimits(LEASE_S, self.clock, self.clock)

    def ask(self, *numbers: int, owner: str = "one", permits: int = 1) -> list[Answer]:
        questions = [
            Question(holder=f"run-{number}", task_id=f"id-{number}", queue="q", permits_key="k", permits=permits)
            for number in numbers
        ]
        return asyncio.run(self.limits.ask(owner, questions, TERMS, self.clock.now))[0]

    def may(self, *numbers: int, owner: str = "one", permits: int = 1) -> list[bool]:
        return [answer.starts for answer in self.ask(*numbers, owner=owner, permits=permits)]

    def free(self, number: int, owner: str = "one", permits: int = 1) -> list[Delayed]:
        return asyncio.run(self.limits.free(owner, [Hold("k", permits, f"run-{number}")]))

    def renew(self, *held: int, owner: str = "one", permits: int = 1) -> list[Delayed]:
        holds = [Hold("k", permits, f"run-{number}") for number in held]
        return asyncio.run(self.limits.renew(owner, holds, {"k": permits})).woken

    def live(self, seconds: float, *held: int, owner: str = "one") -> list[Delayed]:
        """Let the time pass, and renew meanwhile."""
        woken = []
        for _ in range(int(seconds)):
            self.clock.now += 1.0
            woken += self.renew(*held, owner=owner)
        return woken


def test_one_who_was_woken_and_does_not_come_blocks_nobody_for_long() -> None:
    store = Store()
    store.ask(0, 1, 2)
    assert [one.task_id for one in store.free(0)] == ["id-1"]
    assert store.may(2) == [False]  # kept for the one before it
    assert [one.task_id for one in store.live(WOKEN_S + 1.0)] == ["id-2"]
    assert store.may(2) == [True]


def test_a_place_is_lost_when_nobody_comes_back_to_it() -> None:
    store = Store()
    due = store.ask(0, 1)[1].after_s
    store.live(due + 5.0, 0)
    assert store.may(2) == [False]
    store.live(10.0, 0)  # now run-1 should have been here
    assert [one.task_id for one in store.free(0)] == ["id-2"]


def test_the_line_has_an_end_and_those_behind_it_wait_longer() -> None:
    store = Store()
    answers = store.ask(*range(WAITERS_MAX + 10))
    assert [answer.starts for answer in answers[:2]] == [True, False]
    assert all(answer.due is not None for answer in answers[1:])
    assert answers[-1].after_s == 60.0
    assert store.may(WAITERS_MAX + 50) == [False]


def test_a_frozen_worker_that_comes_back_is_counted_again() -> None:
    store = Store()
    assert store.may(0, owner="frozen") == [True]
    store.live(LEASE_S + 1.0, owner="alive")
    assert store.may(1, owner="alive") == [True]
    store.renew(0, owner="frozen")
    store.free(1, owner="alive")
    assert store.may(2, owner="alive") == [False]  # run-0 is running, whatever its lease


def test_fewer_permits_than_before_hold_from_now_on() -> None:
    store = Store()
    assert store.may(0, 1, 2, permits=3) == [True] * 3
    assert store.may(3, permits=1) == [False]
    store.free(0, permits=1)
    store.free(1, permits=1)
    assert store.may(3, permits=1) == [False]
    assert [one.task_id for one in store.free(2, permits=1)] == ["id-3"]


def test_what_is_over_is_forgotten() -> None:
    store = Store()
    store.ask(0)
    asyncio.run(
        store.limits.ask(
            "one", [Question(holder="r", task_id="r", queue="q", pace_key="p", interval_s=5.0)], TERMS, store.clock.now
        )
    )
    store.free(0)
    store.live(6.0)
    assert not store.limits._shelf.lines
    assert not store.limits._shelf.paces
    store.clock.now += 2 * 3600.0
    store.renew(owner="two")
    assert set(store.limits._shelf.owners().leases) == {"two"}


Step = tuple[str, int, int]


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["ask", "free", "pass", "renew"]), st.integers(0, 12), st.integers(0, 2)), max_size=60
    ),
    permits=st.integers(1, 4),
)
def test_never_more_than_there_are_whatever_happens(steps: list[Step], permits: int) -> None:
    """Three workers that live; what each thinks that it holds is what really runs."""
    store = Store()
    running: dict[int, int] = {}

    def renew_all() -> None:
        for owner in range(3):
            store.renew(*(n for n, o in running.items() if o == owner), owner=f"w{owner}", permits=permits)

    act: dict[str, Callable[[int, int], None]] = {}

    def ask(number: int, owner: int) -> None:
        if number not in running and store.may(number, owner=f"w{owner}", permits=permits) == [True]:
            running[number] = owner

    def free(number: int, owner: int) -> None:
        if number in running:
            store.free(number, owner=f"w{running.pop(number)}", permits=permits)

    def passes(number: int, owner: int) -> None:
        for _ in range(number):
            store.clock.now += 3.0
            renew_all()

    act |= {"ask": ask, "free": free, "pass": passes, "renew": lambda _number, _owner: renew_all()}
    renew_all()
    for name, number, owner in steps:
        act[name](number, owner)
        assert len(running) <= permits
    # And nobody is blocked for ever: once all have ended, everybody gets a turn.
    for number in list(running):
        free(number, 0)
    passes(30, 0)
    for number in range(13):
        ask(number, 0)
        assert number in running
        free(number, 0)
