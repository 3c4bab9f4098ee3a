"""Counting from the journal what became of the tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from msgspec import Struct

from celeriac.torture.journal import END, START, Line
from celeriac.torture.orders import ACCEPTED, REFUSED


class Tally(Struct, frozen=True):
    """What became of the tasks of one run."""

    submitted: int
    """Sends that were tried."""
    refused: int
    """Sends that raised: the caller knows that nothing was promised."""
    completed: int
    """Accepted tasks that came to their end at least once."""
    lost: int
    """Accepted, never completed, and the broker has them no more."""
    stuck: int
    """Accepted and not completed in the time of the scenario, but still with the broker."""
    duplicated: int
    """Completions beyond the first of each task."""
    begun_again: int
    """Runs beyond the first of each task, whether they came to their end or not."""
    in_flight: int
    """Runs under way when something was broken, over all faults."""
    recovery_s: float | None = None
    """From the fault until what it had interrupted ran again, or until work went on; the longest of them."""


def running(lines: Sequence[Line]) -> Counter[str]:
    """Return the keys that have begun more often than ended."""
    return Counter(line.key for line in lines if line.event == START) - Counter(
        line.key for line in lines if line.event == END
    )


def count(
    lines: Sequence[Line],
    held: int,
    in_flight: int = 0,
    recovery_s: float | None = None,
    but: Collection[str] = (),
) -> Tally:
    """Count a journal; `held`: messages that the broker still has, `but`: keys that were not meant to come to their end."""
    by_event: dict[str, Counter[str]] = {event: Counter() for event in (ACCEPTED, REFUSED, START, END)}
    for line in lines:
        if line.event in by_event and line.key not in but:
            by_event[line.event][line.key] += 1
    accepted, ended = by_event[ACCEPTED], by_event[END]
    open_ = len(set(accepted) - set(ended))
    stuck = min(open_, held)
    return Tally(
        submitted=sum(accepted.values()) + sum(by_event[REFUSED].values()),
        refused=sum(by_event[REFUSED].values()),
        completed=len(set(accepted) & set(ended)),
        lost=open_ - stuck,
        stuck=stuck,
        duplicated=sum(ended.values()) - len(ended),
        begun_again=sum(by_event[START].values()) - len(by_event[START]),
        in_flight=in_flight,
        recovery_s=recovery_s,
    )
