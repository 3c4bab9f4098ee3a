"""A plain model of a broker with leases: lists and dictionaries in one process, in which nothing can go wrong."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

from celeriac.core.message import Delivery

Counted = tuple[str, int]
"""A message's id and its losses."""


@dataclass
class Chord:
    """What is counted of a chord."""

    size: int
    parts: set[str] = field(default_factory=set)
    finisher: str | None = None
    closed: bool = False


@dataclass
class Settled:
    """One settlement as the model takes it."""

    tag: Hashable
    verdict: str
    """ack, requeue or dead."""
    follow_up: tuple[str, str, float | None] | None = None
    """Id, list, and when it is due."""
    result: bytes | None = None
    group: str | None = None
    closes: bool = False


class Place(Protocol):
    """The real thing that a book is compared with."""

    lists: list[str]
    """Names of the queue's lists, the most urgent first."""
    fences: bool
    """Taking over has two steps: what has run out is fenced, and then emptied; who loses a lease takes one of another name."""

    def clear(self) -> None:
        """Empty it."""

    def seen(self) -> dict[str, Any]:
        """Return where every message is, as `Book.seen` does."""

    def list_for(self, priority: int) -> str:
        """Return the name of the list for a priority."""

    def list_of(self, delivery: Delivery) -> str:
        """Return the name of the list from which a message was claimed."""

    def fence(self) -> None:
        """Fence the leases that have run out, and do nothing more about them."""


class Book:
    """Where every message is, as on Redis. The last of a list is next."""

    def __init__(self, lease_s: int, loss_limit: int) -> None:
        self._lease_s = lease_s
        self._loss_limit = loss_limit
        self.now = 0
        self.ready: dict[str, list[Counted]] = {}
        self.delayed: list[tuple[float, str, str, int]] = []
        """When it is due, list, id, losses."""
        self.claims: dict[str, dict[Hashable, Counted]] = {}
        self._claimed_from: dict[tuple[str, Hashable], str] = {}
        """Lease and tag of every claim that there ever was -> the list."""
        self.leases: dict[str, float] = {}
        self.parked: list[str] = []
        self.results: dict[str, bytes] = {}
        self.chords: dict[str, Chord] = {}
        self.members: dict[str, str] = {}
        """Member -> its chord."""

    def seen(self) -> dict[str, Any]:
        """Return what a look into the broker has to show."""
        return {
            "leases": self.leases,
            "ready": {name: found for name, found in self.ready.items() if found},
            "delayed": sorted((due, task_id) for due, _, task_id, _ in self.delayed),
            "claims": {lease: found for lease, found in self.claims.items() if found},
            "parked": sorted(self.parked),
        }

    def publish(self, task_id: str, name: str, due: float | None = None) -> None:
        """Take a message in: at the end of its list, or with a delay."""
        if due is None:
            self._put(name, (task_id, 0), at_head=False)
        else:
            self.delayed.append((due, name, task_id, 0))

    def move_due(self) -> None:
        """Put what is due to the heads of the lists, the earliest foremost."""
        due = sorted(one for one in self.delayed if one[0] <= self.now)
        self.delayed = [one for one in self.delayed if one[0] > self.now]
        for _, name, task_id, losses in reversed(due):
            self._put(name, (task_id, losses), at_head=True)

    def _put(self, name: str, counted: Counted, *, at_head: bool) -> None:
        there = self.ready.setdefault(name, [])
        there.insert(len(there) if at_head else 0, counted)

    def in_force(self, lease: str) -> bool:
        """Tell whether messages can be claimed under a lease."""
        return self.leases.get(lease, 0) > self.now

    def claim(self, lease: str, names: list[str], limit: int) -> list[tuple[str, str]]:
        """Take messages, the most urgent list first; returns list and id of each. They are recorded by `record`."""
        if not self.in_force(lease):
            return []
        self.move_due()
        taken: list[tuple[str, str]] = []
        for name in names:
            there = self.ready.get(name, [])
            taken += ((name, there[-1 - place][0]) for place in range(min(limit - len(taken), len(there))))
        return taken

    def record(self, lease: str, tag: Hashable, name: str) -> None:
        """Write down the next message of a list as claimed under a tag."""
        self._claimed_from[lease, tag] = name
        self.claims.setdefault(lease, {})[tag] = self.ready[name].pop()

    def renew(self, lease: str) -> bool:
        """Have a lease last again; False when it is fenced or gone."""
        if self.leases.get(lease, 0) <= 0:
            return False
        self.leases[lease] = self.now + self._lease_s
        return True

    def take_lease(self, lease: str) -> None:
        """Begin a lease."""
        self.leases[lease] = self.now + self._lease_s

    def settle(self, lease: str, settled: Settled) -> str:
        """Settle one claim; returns done, lost or completed."""
        claim = self.claims.get(lease, {}).get(settled.tag)
        if claim is None:
            return "lost"
        task_id, losses = claim
        if settled.group is not None and self._join(settled.group, task_id) and not settled.closes:
            return "completed"
        if settled.follow_up is not None:
            self.publish(*settled.follow_up)
        if settled.result is not None:
            self.results.setdefault(task_id, settled.result)
        if settled.group is not None and settled.closes:
            self.chords[settled.group].closed = True
        if settled.verdict == "requeue":
            self._return(lease, settled.tag, task_id, losses)
        elif settled.verdict == "dead":
            self.parked.append(task_id)
        del self.claims[lease][settled.tag]
        return "done"

    def _join(self, group: str, member: str) -> bool:
        chord = self.chords[group]
        if chord.closed:
            return False
        chord.parts.add(member)
        if len(chord.parts) < chord.size or chord.finisher not in (None, member):
            return False
        chord.finisher = member
        return True

    def _return(self, lease: str, tag: Hashable, task_id: str, losses: int) -> None:
        group = self.members.get(task_id)
        if group is not None and self.chords[group].finisher == task_id and not self.chords[group].closed:
            self.chords[group].finisher = None
        self._put(self._claimed_from[lease, tag], (task_id, losses), at_head=True)

    def release(self, lease: str) -> None:
        """Give everything back, the first claimed foremost, and end the lease."""
        for tag, (task_id, losses) in self._last_first(lease):
            self._return(lease, tag, task_id, losses)
        self.claims.pop(lease, None)
        self.leases.pop(lease, None)

    def fence(self) -> None:
        """Have leases that have run out be renewed no more."""
        self.leases = {lease: end if end > self.now else 0 for lease, end in self.leases.items()}

    def take_over(self, by: str) -> None:
        """Return what was claimed under leases that have run out, the first claimed foremost, or park what was lost too often.

        `by`: the lease of the worker that does it.
        """
        for lease in self._run_out(by):
            for tag, (task_id, losses) in self._last_first(lease):
                if losses + 1 >= self._loss_limit:
                    self.parked.append(task_id)
                else:
                    self._return(lease, tag, task_id, losses + 1)
            self.claims.pop(lease, None)
            del self.leases[lease]

    def _run_out(self, by: str) -> list[str]:
        return [lease for _, lease in sorted((end, lease) for lease, end in self.leases.items() if end <= self.now)]

    def _last_first(self, lease: str) -> list[tuple[Hashable, Counted]]:
        return list(reversed(self.claims.get(lease, {}).items()))
