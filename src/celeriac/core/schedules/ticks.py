"""Which tick of an entry is to be sent now, and what becomes of those that were missed. Pure."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final, Literal

from msgspec import Struct

from celeriac.core.schedules.cadence import Cadence

Misfire = Literal["skip", "once", "all"]
"""What becomes of ticks that nobody could send in time: none of them, the latest only, or each."""
MISFIRES: Final[tuple[Misfire, ...]] = ("skip", "once", "all")


class Rule(Struct, frozen=True):
    """How an entry is sent."""

    misfire: Misfire = "once"
    limit_s: float = math.inf
    """A tick that is later than this is not sent any more."""
    jitter_s: float = 0.0
    """Each tick is sent so many seconds late at most."""


class Send(Struct, frozen=True):
    """A tick is due."""

    tick: datetime


class Skip(Struct, frozen=True):
    """All ticks up to this one are over and not to be sent."""

    until: datetime


class Wait(Struct, frozen=True):
    """Nothing is due."""

    until: datetime | None
    """When the next tick is; None: never."""


def look(name: str, cadence: Cadence, last: datetime, now: datetime, rule: Rule) -> Send | Skip | Wait:
    """Decide about an entry whose latest tick was `last`; all that decide by the same `last` decide alike.

    `name` is the entry's, and takes part in the jitter.  All datetimes are in UTC, see `Zoned`.
    """
    first = cadence.next_after(last)
    if first is None or due_at(name, first, rule.jitter_s) > now:
        return Wait(None if first is None else due_at(name, first, rule.jitter_s))
    if rule.misfire == "all":
        over = None if math.isinf(rule.limit_s) else cadence.latest_until(last, now - timedelta(seconds=rule.limit_s))
        return Send(first) if over is None else Skip(over)
    tick = _latest_due(name, cadence, last, first, now, rule.jitter_s)
    is_late = (now - due_at(name, tick, rule.jitter_s)).total_seconds() > rule.limit_s
    return Skip(tick) if is_late else Send(tick)


def due_at(name: str, tick: datetime, jitter_s: float) -> datetime:
    """Return when a tick is sent: late by a part of the jitter, which entry and tick decide, so that all schedulers agree."""
    if not jitter_s:
        return tick
    digest = blake2b(f"{name}\0{tick.isoformat()}".encode(), digest_size=8).digest()
    return tick + timedelta(seconds=int.from_bytes(digest) / 2**64 * jitter_s)


def _latest_due(
    name: str, cadence: Cadence, last: datetime, first: datetime, now: datetime, jitter_s: float
) -> datetime:
    """Return the latest tick that is due; those within the jitter may be, or not."""
    tick = cadence.latest_until(last, now - timedelta(seconds=jitter_s)) or first
    latest, following = tick, cadence.next_after(tick)
    while following is not None and following <= now:
        if due_at(name, following, jitter_s) <= now:
            latest = following
        following = cadence.next_after(following)
    return latest
