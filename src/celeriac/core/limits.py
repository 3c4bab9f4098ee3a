"""Permits of a limit on concurrency, and what workers ask about limits: pure, for stores that decide in Python.

The Redis script `limits.lua` does the same in Redis; both pass the cases of `tests/coordination/limits_cases.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct, field

from celeriac.core.message import Delayed
from celeriac.core.rates import Pace, Turn, take_turn

WAITERS_MAX: Final = 1000
"""So many have a place in the line for one permit; others come back later to ask for one."""
WOKEN_S: Final = 5.0
"""How long a permit is kept for somebody who was woken, before the next one is."""
WAITER_GRACE_S: Final = 10.0
"""How long after it was due somebody who waits is expected, before its place is lost."""


FRONT_MAX: Final = 200
FRONT_FOR_EACH: Final = 50
"""Where nobody can be woken, so many at the head of a line (for each permit, and in all) ask again soon, the first ones soonest:
the line must not stand still until a broker that counts whole seconds has brought back whose turn it is."""
FRONT_S: Final = 0.1
FRONT_LONGEST_S: Final = 1.0
LONGEST_S: Final = 60.0


class Question(Struct, kw_only=True):
    """What a worker asks about one message of a limited task."""

    holder: str
    """Names the run: task id and number of the retry."""
    task_id: str
    queue: str
    permits_key: str | None = None
    """Whose permits it needs; None: none."""
    permits: int = 0
    """How many there are."""
    pace_key: str | None = None
    """Whose rate it is bound to; None: none."""
    interval_s: float = 0.0
    slot: float | None = None
    """The slot that it has reserved."""
    expires_at: float | None = None
    """When its message expires, by the clock of `asked_at`: it comes back then at the latest."""


class Answer(Struct):
    """What it may do."""

    starts: bool
    after_s: float
    """It starts then, or asks again then."""
    slot: float | None = None
    """What it has reserved."""
    due: float | None = None
    """Set for those that wait for a permit: exactly this `not_before` has to be given to the broker, to be found by it."""


class Hold(Struct, frozen=True):
    """A permit that a run holds."""

    key: str
    permits: int
    holder: str


class Renewal(Struct):
    """What a worker is told when it says that it lives."""

    woken: list[Delayed]
    rates: dict[str, str]
    """Task -> the rate that was set for it at run time."""


class Line(Struct):
    """The permits of one key: who holds them, and who waits in which order."""

    holders: dict[str, str] = field(default_factory=dict)
    """Run -> owner, a worker with a lease."""
    waiting: dict[str, Place] = field(default_factory=dict)
    """Run -> its place; in order of arrival."""


class Place(Struct):
    """Somebody's place in the line."""

    waiter: Delayed
    expires_at: float
    """Unix seconds of the store; then the place is lost."""
    woken: bool = False


class Terms(Struct, frozen=True):
    """How a worker waits; it differs by what its broker can do."""

    near_s: float
    """So far ahead it waits by itself for a start that was promised."""
    horizon_s: float
    """So far ahead slots of a rate are reserved."""
    wakes: bool
    """Its broker can bring a delayed message forward, so that waiting for a permit may be long."""


def pause_s(terms: Terms, rank: int, permits: int) -> float:
    """Return how long somebody with so many others before it waits for a permit before it asks again, unless woken."""
    if terms.wakes:
        return min(LONGEST_S, 15.0 + rank * 0.05)
    if rank < min(FRONT_FOR_EACH * permits, FRONT_MAX):
        return min(FRONT_LONGEST_S, FRONT_S * (1.0 + rank / permits))
    if rank >= WAITERS_MAX:
        return LONGEST_S
    return min(1.0 + rank / (4.0 * permits), 2.0 + rank / 100.0)


def answer(
    question: Question,
    line: Line,
    pace: Pace,
    terms: Terms,
    owner: str,
    alive: Callable[[str], bool],
    now: float,
    asked_at: float,
) -> Answer:
    """Answer one question and note it in `line` and `pace`.

    `now` is the store's time, `asked_at` the worker's own, by which `due` is reckoned; `alive` tells whether an owner's lease is
    in force.  A permit is taken only by who starts.
    """
    if question.permits_key is not None:
        clean(line, question.permits, alive, now)
        if question.holder in line.holders:  # delivered again: its former worker has lost it
            del line.holders[question.holder]
        ahead = _ahead(line, question.holder)
        if ahead >= question.permits - len(line.holders):
            return _wait_in_line(question, line, terms, ahead, now, asked_at)
        line.waiting.pop(question.holder, None)
    if question.pace_key is not None:
        turn: Turn = take_turn(pace, question.interval_s, question.slot, now, terms.near_s, terms.horizon_s)
        if not turn.starts:
            return Answer(False, turn.at - now, turn.slot)
    else:
        turn = Turn(True, now)
    if question.permits_key is not None:
        line.holders[question.holder] = owner
    return Answer(True, turn.at - now)


def _ahead(line: Line, holder: str) -> int:
    if holder not in line.waiting:
        return len(line.waiting)
    return list(line.waiting).index(holder)


def _wait_in_line(question: Question, line: Line, terms: Terms, ahead: int, now: float, asked_at: float) -> Answer:
    wait_s = pause_s(terms, ahead, question.permits)
    due = asked_at + wait_s
    if question.expires_at is not None and question.expires_at < due:
        due = question.expires_at
        wait_s = max(0.0, due - asked_at)
    if question.holder in line.waiting or len(line.waiting) < WAITERS_MAX:
        # Assigning keeps the place of one that has it already.
        waiter = Delayed(question.queue, question.task_id, due)
        line.waiting[question.holder] = Place(waiter, now + wait_s + WAITER_GRACE_S)
    return Answer(False, wait_s, question.slot, due)


def clean(line: Line, permits: int, alive: Callable[[str], bool], now: float) -> None:
    """Take permits from those whose owner is gone, where they are wanted, and places from those who did not come back."""
    if len(line.holders) >= permits:
        for holder in [holder for holder, owner in line.holders.items() if not alive(owner)]:
            del line.holders[holder]
    for holder in [holder for holder, place in line.waiting.items() if place.expires_at <= now]:
        del line.waiting[holder]


def wake(line: Line, permits: int, now: float) -> list[Delayed]:
    """Return those for whom a permit is free and who do not know yet; they are expected to come soon."""
    woken = []
    free = permits - len(line.holders)
    for place in list(line.waiting.values())[: max(0, free)]:
        if not place.woken:
            place.woken = True
            place.expires_at = min(place.expires_at, now + WOKEN_S)
            woken.append(place.waiter)
    return woken
