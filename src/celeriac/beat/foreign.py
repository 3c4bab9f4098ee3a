"""Schedules that say by Celery's `is_due` when they are due, as ticks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from celeriac.core.schedules.cadence import Cadence
from celeriac.schedules import BaseSchedule


def cadence_of(schedule: Any) -> Cadence:
    """Return the ticks of a schedule: its own, or what its `is_due` tells."""
    says_next = getattr(type(schedule), "next_after", BaseSchedule.next_after) is not BaseSchedule.next_after
    cadence: Cadence = schedule if says_next else Asked(schedule)
    return cadence


class Asked:
    """The ticks of a schedule that only tells, by the clock, whether it is due.

    Its next tick is the present, or as far away as it says; schedulers that ask at other moments name other ticks, and the first
    of them to claim what follows the last one has it.
    """

    def __init__(self, schedule: Any) -> None:
        self._schedule = schedule

    def next_after(self, instant: datetime) -> datetime | None:
        """See `Cadence.next_after`."""
        schedule = self._schedule
        now: datetime = schedule.now()
        now = (now if now.tzinfo is not None else now.replace(tzinfo=UTC)).astimezone(instant.tzinfo)
        is_due, next_s = schedule.is_due(instant)
        if is_due and now > instant:
            return now
        return now + timedelta(seconds=max(float(next_s), 0.001))

    def latest_until(self, last: datetime, instant: datetime) -> datetime | None:
        """See `Cadence.latest_until`."""
        tick = self.next_after(last)
        return tick if tick is not None and tick <= instant else None
