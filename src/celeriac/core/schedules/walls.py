"""Walls and instants: what the clocks of a time zone show, and when they show it. Pure.

A *wall* is a datetime without a zone, as clocks on a wall show it; an *instant* is one in UTC.  Two datetimes of one zone are
compared by Python as walls, so everything here that is compared is an instant.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

SECOND: Final = timedelta(seconds=1)


def wall_of(instant: datetime, zone: tzinfo) -> datetime:
    """Return what the clocks show at an instant."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def offset_at(instant: datetime, zone: tzinfo) -> timedelta:
    """Return how far the clocks are ahead of UTC at an instant."""
    return instant.astimezone(zone).utcoffset() or timedelta()


def instants_of(wall: datetime, zone: tzinfo) -> tuple[datetime, ...]:
    """Return the instants at which the clocks show a wall: one; two in an hour that is repeated; none in one that is skipped."""
    found: list[datetime] = []
    for fold in (0, 1):
        instant = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if instant not in found and wall_of(instant, zone) == wall:
            found.append(instant)
    return tuple(found)


def instant_of(wall: datetime, zone: tzinfo) -> datetime:
    """Return the one instant of a wall: the first of two, and for one that is skipped the end of what is skipped."""
    found = instants_of(wall, zone)
    if found:
        return found[0]
    # Fold 0 is reckoned with the offset before the change, which gives an instant after it; fold 1 the other way round.
    before, after = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    return change_between(before, after, zone)


def change_between(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return the first instant, to the second, at which the offset is no longer that of `before`; at most `after`."""
    offset = offset_at(before, zone)
    while after - before > SECOND:
        middle = before + timedelta(seconds=(after - before) // SECOND // 2 or 1)
        if offset_at(middle, zone) == offset:
            before = middle
        else:
            after = middle
    return after
