"""The books of a store that decides in Python: which line and which pace belongs to which key, and whose lease is in force."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from celeriac.core.limits import Answer, Hold, Line, Question, Terms, answer, clean, wake
from celeriac.core.message import Delayed
from celeriac.core.rates import Pace


class Owners(Struct):
    """The leases."""

    leases: dict[str, float] = field(default_factory=dict)
    """Owner -> when its lease runs out, in seconds of the store."""
    beat_at: float = -math.inf
    """When any owner was last heard of."""
    grace_until: float = -math.inf
    """Until then no lease is taken to have run out."""

    def beat(self, owner: str, lease_s: float, now: float) -> None:
        """Note that an owner lives.

        When nobody was heard of for as long as a lease lasts, the store was away, and no lease has run out through a fault of
        its owner: then all get the time to renew theirs.
        """
        if self.leases and now - self.beat_at > lease_s:
            self.grace_until = now + lease_s
        self.beat_at = now
        self.leases[owner] = now + lease_s

    def tidy(self, now: float, keep_s: float) -> None:
        """Forget those that are gone for long."""
        self.leases = {owner: until for owner, until in self.leases.items() if until > now - keep_s}


class Shelf(Protocol):
    """Where lines, paces and owners are kept between two calls; the objects that it returns are changed in place."""

    def owners(self) -> Owners: ...

    def line(self, key: str) -> Line: ...

    def pace(self, key: str) -> Pace: ...


class Book:
    """What `LimitStore` does, on a shelf, with the store's time handed in. Each call is to be one transaction."""

    def __init__(self, shelf: Shelf, lease_s: float, now: float, leases_now: float | None = None) -> None:
        """`leases_now`: the time by which leases run, where that is another than the tasks'."""
        self._shelf = shelf
        self._lease_s = lease_s
        self._now = now
        self._leases_now = now if leases_now is None else leases_now

    def _alive(self, owner: str) -> bool:
        owners = self._shelf.owners()
        until = owners.leases.get(owner)
        return until is not None and (until > self._leases_now or owners.grace_until > self._leases_now)

    def ask(
        self, owner: str, questions: Sequence[Question], terms: Terms, asked_at: float
    ) -> tuple[list[Answer], list[Delayed]]:
        """See `LimitStore.ask`."""
        self._shelf.owners().beat(owner, self._lease_s, self._leases_now)
        answers: list[Answer] = []
        changed: dict[str, int] = {}
        for question in questions:
            line = self._shelf.line(question.permits_key) if question.permits_key is not None else Line()
            pace = self._shelf.pace(question.pace_key) if question.pace_key is not None else Pace()
            given = answer(question, line, pace, terms, owner, self._alive, self._now, asked_at)
            answers.append(given)
            if question.permits_key is not None:
                changed[question.permits_key] = question.permits
        return answers, self._wake_all(changed)

    def free(self, owner: str, holds: Iterable[Hold]) -> list[Delayed]:
        """See `LimitStore.free`."""
        changed: dict[str, int] = {}
        for hold in holds:
            line = self._shelf.line(hold.key)
            if line.holders.get(hold.holder) == owner:
                del line.holders[hold.holder]
            clean(line, hold.permits, self._alive, self._now)
            changed[hold.key] = hold.permits
        return self._wake_all(changed)

    def quit(self, places: Iterable[Hold]) -> list[Delayed]:
        """See `LimitStore.quit`."""
        changed: dict[str, int] = {}
        for place in places:
            line = self._shelf.line(place.key)
            line.waiting.pop(place.holder, None)
            clean(line, place.permits, self._alive, self._now)
            changed[place.key] = place.permits
        return self._wake_all(changed)

    def _wake_all(self, changed: Mapping[str, int]) -> list[Delayed]:
        """Wake in each of these lines (key -> how many permits), once: it looks at everybody for whom a permit is free."""
        woken = [wake(self._shelf.line(key), permits, self._now) for key, permits in changed.items()]
        return [waiter for some in woken for waiter in some]

    def parked(self, places: Iterable[Hold]) -> list[Delayed]:
        """See `LimitStore.parked`."""
        found = (self._shelf.line(place.key).waiting.get(place.holder) for place in places)
        return [place.waiter for place in found if place is not None and place.woken]

    def renew(self, owner: str, holds: Iterable[Hold], watched: Mapping[str, int], keep_s: float) -> list[Delayed]:
        """See `LimitStore.renew`; `keep_s` is how long owners that are gone are remembered."""
        owners = self._shelf.owners()
        owners.beat(owner, self._lease_s, self._leases_now)
        owners.tidy(self._leases_now, keep_s)
        for hold in holds:
            self._shelf.line(hold.key).holders.setdefault(hold.holder, owner)
        woken = []
        for key, permits in watched.items():
            line = self._shelf.line(key)
            clean(line, permits, self._alive, self._now)
            woken += wake(line, permits, self._now)
        return woken

    def leave(self, owner: str) -> None:
        """See `LimitStore.leave`."""
        self._shelf.owners().leases.pop(owner, None)
