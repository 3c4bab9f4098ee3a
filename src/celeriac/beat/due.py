"""Between which times an entry has ticks, and which of them is its next."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from celeriac.beat.entry import ScheduleEntry, in_utc
from celeriac.beat.state import State, moment
from celeriac.schedules import schedule as interval

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


def is_over(entry: ScheduleEntry, state: State, now: float) -> bool:
    """Tell whether an entry is not sent any more."""
    is_anew = entry.begins_after is not None and in_utc(entry.begins_after).timestamp() > (state.sent or 0.0)
    if entry.runs_max is not None and state.runs >= entry.runs_max and not is_anew:
        return True
    return entry.ends is not None and in_utc(entry.ends).timestamp() <= now


def last_of(entry: ScheduleEntry, state: State) -> datetime:
    """Return the instant after which the next tick comes: the latest tick, but not before the entry begins."""
    last = state.last_tick
    if entry.begins_after is not None:
        last = max(last, in_utc(entry.begins_after))
    if entry.begins is None or in_utc(entry.begins) <= last:
        return last
    before = entry.schedule.run_every if isinstance(entry.schedule, interval) else timedelta(microseconds=1)
    return in_utc(entry.begins) - before


def next_tick(app: Celeriac, entry: ScheduleEntry, state: State | None) -> datetime | None:
    """Return the first tick of an entry that is not over yet, in UTC; None: there is none any more."""
    now = moment(app.time_source.time())
    if state is not None and is_over(entry, state, now.timestamp()):
        return None
    last = last_of(entry, state or State(last=now.timestamp()))
    cadence = entry.cadence(app.timezone)
    tick = cadence.next_after(cadence.latest_until(last, now) or last)
    comes_too_late = tick is not None and entry.ends is not None and tick >= in_utc(entry.ends)
    return None if comes_too_late else tick
